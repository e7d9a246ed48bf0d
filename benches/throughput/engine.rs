//! Whole steps of the real training loop, augmentation included, compared with the programs of
//! `benches/gpu_baselines.py`.

use std::error::Error;

use regun::config::schema::Config;
use regun::config::{Request, load};
use regun::data::split::SplitIndices;
use regun::data::{Dataset, Fingerprints, Images};
use regun::data::{DeviceDataset, Part};
use regun::distributed::World;
use regun::models;
use regun::models::Model;
use regun::train::supervised::Supervised;
use regun::train::{EpochReport, Observer, Phase, TrainSettings, Trainer};
use tch::{Device, Kind};

use crate::Options;
use crate::baseline::BaselineProcesses;
use crate::report::{Row, median};

/// Name of the rows.
pub const NAME: &str = "train_engine_resnet18";
const SCRIPT: &str = "benches/gpu_baselines.py";

/// Floating-point operations of a training step for one image: three times those of the convolutions and the linear
/// layer in a forward pass, because the backward pass has two products of the same size. A multiplication with an
/// addition counts as 2.
pub fn flops_per_image() -> f64 {
    let conv = |inputs: u64, outputs: u64, kernel: u64, side: u64| 2 * inputs * outputs * kernel * kernel * side * side;
    let (mut inputs, mut side) = (64, 32);
    let mut forward = conv(3, 64, 3, side) + 2 * 512 * 10;
    for width in [64, 128, 256, 512] {
        if width != inputs {
            side /= 2;
            forward += conv(inputs, width, 1, side);
        }
        forward += conv(inputs, width, 3, side) + 3 * conv(width, width, 3, side);
        inputs = width;
    }
    3.0 * forward as f64
}

/// One row for each program that runs on the device.
pub fn compare(options: &Options, device: Device) -> Result<Vec<Row>, Box<dyn Error>> {
    let modes: &[&str] = match device {
        Device::Cuda(_) => &["eager", "graph", "compile", "reduce-overhead", "loader"],
        _ => &["eager"],
    };
    let arguments = options.baseline_arguments(options.steps, options.batch_size);
    let baselines = BaselineProcesses::start(&options.python, SCRIPT, modes, &arguments);
    let mut rounds = Rounds { baselines, ours: Vec::new(), rounds: options.rounds };
    train(options, device, &mut rounds)?;

    let images = (options.steps * options.batch_size) as f64;
    let ours = images / median(rounds.ours);
    let fraction = options.peak_tflops.map(|peak| ours * flops_per_image() / (peak * 1e12));
    let of_peak = fraction.map_or(String::new(), |fraction| format!(", {:.1} % of the peak", 100.0 * fraction));
    println!("{NAME}: regun {ours:.1} images/s{of_peak}");
    let row = |(mode, seconds): (&&str, f64)| {
        let baseline = format!("PyTorch {mode}, {}", options.setting(options.batch_size));
        Row { share_of_peak: fraction, ..Row::faster(NAME, ours, images / seconds, &baseline, "images/s") }
    };
    Ok(modes.iter().zip(rounds.baselines.medians()).map(row).collect())
}

/// Runs a round of each baseline after each epoch of regun.
struct Rounds {
    baselines: BaselineProcesses,
    ours: Vec<f64>,
    rounds: usize,
}

impl Observer for Rounds {
    fn epoch(&mut self, report: &EpochReport<'_>) -> regun::error::Result<()> {
        // In the first epochs libraries choose their algorithms, and the step is captured.
        if report.epoch < 2 {
            return Ok(());
        }
        self.ours.push(report.seconds);
        (0..self.baselines.len()).for_each(|index| self.baselines.run_round(index));
        eprintln!("{NAME}: round {} of {}", self.ours.len(), self.rounds);
        Ok(())
    }
}

/// `n` random images of CIFAR's shape.
fn noise(n: usize) -> Images {
    let mut state = 1u32;
    let mut byte = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    };
    let pixels = (0..n * 3 * 32 * 32).map(|_| byte()).collect::<Vec<u8>>().into();
    Images { pixels, labels: (0..n as i64).map(|i| i % 10).collect(), channels: 3, height: 32, width: 32 }
}

fn train(options: &Options, device: Device, rounds: &mut Rounds) -> regun::error::Result<()> {
    // The baseline's learning rate. It is small, so that repeated steps on noise do not diverge.
    let overrides = [
        "model.optim.lr=0.001".to_owned(),
        format!("data.batch_size={}", options.batch_size),
        format!("trainer.precision={}", options.precision),
    ];
    let config: Config = load(&Request { overrides: &overrides, ..Request::default() })?.config;
    let n = options.steps * options.batch_size;
    let dataset = Dataset {
        name: "noise".into(),
        train: noise(n),
        test: noise(1),
        num_classes: 10,
        fingerprints: Fingerprints::default(),
        class_names: Vec::new(),
        no_test: None,
    };
    let parts = SplitIndices { retain: (0..n).collect(), ..SplitIndices::default() };
    let dataset = DeviceDataset::new(&dataset, parts, &config.data, Kind::Float, device)?;
    let architecture = models::build(&config.model.model)?.into();
    let mut model = Model::initialise(&architecture, 0, "bench", Kind::Float, device)?;
    let world = World::solo();
    let settings = TrainSettings { names: None, ..TrainSettings::new(&config, &world, "bench", 0) };
    let optim = config.model.optim;
    let phase = Phase { name: "train", epochs: options.rounds + 2, optim, scheduler: None, named_parameters: false };
    let mut method = Supervised { part: Part::Retain, label_smoothing: 0.0, phase };
    Trainer { world: &world, dataset: &dataset, model: &mut model, settings }.run(&mut method, rounds)?;
    Ok(())
}
