//! Training with the real training loop on one and on two MPI ranks, with one thread each and the same global batch.

use std::error::Error;
use std::process::Command;
use std::sync::Arc;

use regun::config::schema::Stem;
use regun::config::{Request, load};
use regun::data::device_images::DeviceImages;
use regun::data::split::SplitIndices;
use regun::data::{DeviceDataset, Part};
use regun::distributed::launch;
use regun::models::resnet::{ResNet, ResNetVariant};
use regun::models::{Architecture, Model};
use regun::train::supervised::Supervised;
use regun::train::{EpochReport, Observer, Phase, TrainSettings, Trainer};
use tch::{Device, Kind, Tensor};

use crate::report::{Row, median};

const RANKS: usize = 2;
/// Name of the first row.
pub const NAME: &str = "train_2_ranks_resnet18";

/// Compares the speed of two ranks with that of one, and measures the time of the collectives.
pub fn compare(batch_size: usize, steps: usize, rounds: usize) -> Result<Vec<Row>, Box<dyn Error>> {
    let (mut one, mut many, mut collectives, mut whole) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for round in 0..rounds.min(3) {
        one.push(launch_ranks(1, batch_size, steps)?.0);
        let (seconds, in_collectives) = launch_ranks(RANKS, batch_size, steps)?;
        many.push(seconds);
        collectives.push(in_collectives);
        whole.push(seconds);
        eprintln!("ranks: round {} of {}", round + 1, rounds.min(3));
    }
    let rate = |seconds| (batch_size * steps) as f64 / median(seconds);
    let baseline = format!("1 rank, batch {batch_size}, cpu, 1 thread");
    Ok(vec![
        Row::faster(NAME, rate(many), rate(one), &baseline, "images/s"),
        Row::cheaper("collectives_2_ranks_resnet18", median(collectives), median(whole), "the whole training", "s"),
    ])
}

/// Runs this program as `n` ranks. Returns rank 0's seconds of the training and of its collectives.
fn launch_ranks(n: usize, batch_size: usize, steps: usize) -> Result<(f64, f64), Box<dyn Error>> {
    let output = Command::new("mpirun")
        .args(["-n", &n.to_string(), "--oversubscribe"])
        .arg(std::env::current_exe()?)
        .args(["--rank", &format!("--batch-size={batch_size}"), &format!("--steps={steps}")])
        .envs([("OMPI_ALLOW_RUN_AS_ROOT", "1"), ("OMPI_ALLOW_RUN_AS_ROOT_CONFIRM", "1")])
        .output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    let numbers: Vec<f64> = text.split_whitespace().filter_map(|number| number.parse().ok()).collect();
    match (output.status.success(), numbers.as_slice()) {
        (true, &[seconds, collectives]) => Ok((seconds, collectives)),
        _ => Err(format!("mpirun -n {n}: {}\n{text}{}", output.status, String::from_utf8_lossy(&output.stderr)).into()),
    }
}

/// Takes the seconds of the last epoch from the trainer's report.
struct Clock(f64);

impl Observer for Clock {
    fn epoch(&mut self, report: &EpochReport<'_>) -> regun::error::Result<()> {
        self.0 = report.seconds;
        Ok(())
    }
}

/// Runs one rank: an epoch to warm up and an epoch to measure. Rank 0 prints the seconds of the second one and of its
/// collectives.
pub fn train(batch_size: usize, steps: usize) -> regun::error::Result<()> {
    let world = launch::start()?;
    tch::set_num_threads(1);
    let n = batch_size * steps;
    let images = Tensor::f_zeros([n as i64, 3, 32, 32], (Kind::Float, Device::Cpu))?.f_normal_(0.0, 1.0)?;
    let data = || DeviceImages::new(images.shallow_clone(), (0..n as i64).map(|i| i % 10).collect());
    let parts = SplitIndices { retain: (0..n).collect(), ..SplitIndices::default() };
    let dataset = DeviceDataset::prepared(data(), data(), parts, 10, batch_size);
    let architecture: Arc<dyn Architecture> = Arc::new(ResNet::new(ResNetVariant::ResNet18, Stem::Cifar, 10));
    let mut model = Model::initialise(&architecture, 0, "bench", Kind::Float, Device::Cpu)?;
    // A small learning rate, so that repeated steps on noise do not diverge.
    let overrides = ["model.optim.lr=0.001".to_owned(), format!("data.batch_size={batch_size}")];
    let config = load(&Request { overrides: &overrides, ..Request::default() })?.config;
    let settings = TrainSettings { names: None, ..TrainSettings::new(&config, &world, "bench", 0) };
    let optim = config.model.optim;
    let mut clock = Clock(0.0);
    let mut in_collectives = 0.0;
    for _warm_up_then_measured in 0..2 {
        let phase = Phase { name: "train", epochs: 1, optim: optim.clone(), scheduler: None, named_parameters: false };
        let mut method = Supervised { part: Part::Retain, label_smoothing: 0.0, phase };
        let mut trainer = Trainer { world: &world, dataset: &dataset, model: &mut model, settings: settings.clone() };
        let before = world.traffic().seconds;
        trainer.run(&mut method, &mut clock)?;
        in_collectives = world.traffic().seconds - before;
    }
    if world.is_root() {
        println!("{} {in_collectives}", clock.0);
    }
    world.barrier()
}
