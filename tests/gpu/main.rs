//! A GPU gives the numbers of the CPU, and several ranks over NCCL give those of one process. Without a usable GPU each
//! test prints that and passes. `make gpu-check` takes this program to a machine with a GPU.
//!
//! The ranks share one GPU. NCCL refuses that unless each rank has a host id of its own (`NCCL_HOSTID`).

#[path = "../as_ranks/mod.rs"]
mod as_ranks;
#[path = "../mpirun/mod.rs"]
mod mpirun;
#[path = "../training/mod.rs"]
mod training;

mod one_process;
mod ranks;

use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};

use regun::config::{Config, Request, load};
use regun::data::{DeviceDataset, LoadOptions, Part, load_dataset, split};
use regun::distributed::World;
use regun::error::Result;
use regun::eval::collect;
use regun::models::{Model, build};
use regun::torch::{self, Numerics};
use regun::train::{Observer, StepReport, TrainSettings, Trainer};
use tch::{Device, Kind, Tensor};
use training::method;

const GPU: Device = Device::Cuda(0);
const PLAIN: Numerics = Numerics { deterministic: false, tf32: false, benchmark: false };
const DETERMINISTIC: Numerics = Numerics { deterministic: true, ..PLAIN };

/// Locks the GPU for one test at a time, because numerics are set for the whole process. None without a usable GPU.
fn gpu(numerics: Numerics) -> Option<MutexGuard<'static, ()>> {
    static TURN: Mutex<()> = Mutex::new(());
    static FOUND: LazyLock<Result<(), String>> = LazyLock::new(|| {
        if torch::gpus()?.is_empty() {
            return Err("the NVIDIA driver shows none".into());
        }
        // Before the first use of the GPU, because cuBLAS reads its settings only then.
        DETERMINISTIC.apply().map_err(|error| error.to_string())?;
        torch::load_cuda()?;
        (torch::device_count() > 0).then_some(()).ok_or_else(|| "libtorch can use none".into())
    });
    if let Err(why) = &*FOUND {
        println!("no GPU: skipped ({why})");
        return None;
    }
    let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    numerics.apply().unwrap();
    torch::set_device(GPU).unwrap();
    tch::set_num_threads(1);
    Some(turn)
}

/// Images are cropped and flipped at random. An epoch has 5 batches, and the last one is smaller. The learning rate is
/// low because training amplifies rounding differences.
const SETUP: &str = "data=digits model=resnet20 data.debug_subset_size=200 data.batch_size=32 trainer.precision=32 \
    split.forget_frac=0.3 split.retain_frac=0.55 split.validation_frac=0.15 model.optim.lr=0.002 trainer.max_epochs=2 \
    data.transforms.random_crop.enabled=true data.transforms.horizontal_flip.enabled=true";

fn configure(variant: &str) -> Config {
    let overrides: Vec<String> = SETUP.split_whitespace().chain(variant.split_whitespace()).map(String::from).collect();
    load(&Request { overrides: &overrides, ..Request::default() }).unwrap().config
}

/// After every step, the mean loss of the epoch so far over all ranks.
struct Losses<'a>(&'a World, Vec<f64>);

impl Observer for Losses<'_> {
    fn step(&mut self, report: &StepReport<'_>) -> Result<()> {
        self.1.push(report.meter.means(self.0)?.loss);
        Ok(())
    }
}

struct Trained {
    losses: Vec<f64>,
    /// All parameters, flattened and concatenated, float64 on the CPU.
    weights: Tensor,
    /// Logits of the test images at rank 0; empty on the other ranks.
    logits: Vec<f32>,
}

fn dataset(config: &Config, kind: Kind, device: Device) -> DeviceDataset {
    let dataset = load_dataset(&config.data, LoadOptions { cache_dir: &config.paths.cache_dir, threads: 1 }).unwrap();
    let parts = split::split(&dataset.train.labels, &config.split).unwrap();
    DeviceDataset::new(&dataset, parts, &config.data, kind, device).unwrap()
}

fn train(world: &World, config: &Config, kind: Kind, device: Device) -> Trained {
    let dataset = dataset(config, kind, device);
    let architecture = build(&config.model.model).unwrap().into();
    let mut model = Model::initialise(&architecture, 42, "base", kind, device).unwrap();
    let mut losses = Losses(world, Vec::new());
    let settings = TrainSettings { names: None, ..TrainSettings::new(config, world, "test", 42) };
    Trainer { world, dataset: &dataset, model: &mut model, settings }
        .run(&mut *method(config, None), &mut losses)
        .unwrap();
    let flat = |tensor: &Tensor| tensor.to_device(Device::Cpu).to_kind(Kind::Double).flatten(0, -1);
    let weights: Vec<Tensor> = model.state.parameters().map(|(.., tensor)| flat(tensor)).collect();
    let logits = logits(world, &dataset, &model);
    Trained { losses: losses.1, weights: Tensor::cat(&weights, 0), logits }
}

/// Logits of the test images at rank 0; empty on the other ranks.
fn logits(world: &World, dataset: &DeviceDataset, model: &Model) -> Vec<f32> {
    let logits = collect::logits(world, dataset, model, Part::Test).unwrap();
    logits.map_or(Vec::new(), |logits| (0..logits.len()).flat_map(|i| logits.row(i).to_vec()).collect())
}

/// `||a - b|| / ||b||`.
fn distance(a: &Tensor, b: &Tensor) -> f64 {
    ((a - b).norm() / b.norm()).double_value(&[])
}

#[track_caller]
fn assert_near(what: &str, got: &[f64], wanted: &[f64], first: f64, later: f64) {
    assert_eq!(got.len(), wanted.len(), "{what}: steps");
    for (step, (got, wanted)) in got.iter().zip(wanted).enumerate() {
        let tolerance = if step == 0 { first } else { later };
        let off = (got - wanted).abs() / wanted.abs().max(0.1);
        assert!(off <= tolerance, "{what}, step {}: loss {got}, wanted {wanted} ({off:e} apart)", step + 1);
    }
}
