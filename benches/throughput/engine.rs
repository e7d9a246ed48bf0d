//! Whole training steps of the real engine, augmentation included, against the programs of `benches/gpu_peers.py`.

use std::error::Error;

use regun::config::schema::Config;
use regun::config::{Request, load};
use regun::data::source::{Dataset, Images};
use regun::data::split::SplitIndices;
use regun::data::{DeviceDataset, Part};
use regun::distributed::World;
use regun::models;
use regun::models::Model;
use regun::train::supervised::Supervised;
use regun::train::{EpochReport, Observer, Phase, TrainSettings, Trainer};
use tch::{Device, Kind};

use crate::Options;
use crate::peer::Peers;
use crate::report::{Row, median};

/// The row.
pub const NAME: &str = "train_engine_resnet18";
const PEERS: &str = "benches/gpu_peers.py";

/// Multiplications and additions of a training step for one image, 2 for each pair: three times those of the
/// convolutions and the linear layer of a forward pass (the backward pass makes two products of the same size).
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
    let arguments = options.peer_arguments(options.steps, options.batch_size);
    let peers = Peers::start(&options.python, PEERS, modes, &arguments);
    let mut rounds = Rounds { peers, ours: Vec::new(), rounds: options.rounds };
    train(options, device, &mut rounds)?;

    let images = (options.steps * options.batch_size) as f64;
    let ours = images / median(rounds.ours);
    let share = options.peak_tflops.map(|peak| ours * flops_per_image() / (peak * 1e12));
    let of_peak = share.map_or(String::new(), |share| format!(", {:.1} % of the peak", 100.0 * share));
    println!("{NAME}: regun {ours:.1} images/s{of_peak}");
    let row = |(mode, seconds): (&&str, f64)| {
        let baseline = format!("PyTorch {mode}, {}", options.setting(options.batch_size));
        Row { share_of_peak: share, ..Row::faster(NAME, ours, images / seconds, &baseline, "images/s") }
    };
    Ok(modes.iter().zip(rounds.peers.medians()).map(row).collect())
}

/// The peers have their turns between our epochs.
struct Rounds {
    peers: Peers,
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
        (0..self.peers.len()).for_each(|place| self.peers.ask(place));
        eprintln!("{NAME}: round {} of {}", self.ours.len(), self.rounds);
        Ok(())
    }
}

/// Random pictures of CIFAR's shape.
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
    // As in the baseline: a small rate keeps repeated steps on noise within ordinary numbers.
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
        fingerprint: String::new(),
        class_names: Vec::new(),
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
