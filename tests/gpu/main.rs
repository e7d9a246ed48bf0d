//! A GPU gives the numbers of the CPU, and several ranks over NCCL give those of one process. Without a usable GPU the
//! tests count as ignored. `make gpu-check` takes this program to a machine with a GPU.
//!
//! The ranks share one GPU. NCCL refuses that unless each rank has a host id of its own (`NCCL_HOSTID`).

#[path = "../as_ranks/mod.rs"]
mod as_ranks;
#[path = "../harness/mod.rs"]
mod harness;
#[path = "../mpirun/mod.rs"]
mod mpirun;
#[path = "../training/mod.rs"]
mod training;

mod one_process;
mod ranks;

use std::sync::{Mutex, MutexGuard, PoisonError};

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

fn main() {
    // cuBLAS and NCCL read these when they start. A variable can be set only before any thread starts.
    torch::default_environment("CUBLAS_WORKSPACE_CONFIG", ":4096:8").unwrap();
    if let Ok(rank) = std::env::var("OMPI_COMM_WORLD_RANK") {
        torch::default_environment("NCCL_HOSTID", &format!("regun-rank-{rank}")).unwrap();
    }
    let gpu = find_gpu().map_err(|reason| format!("no GPU: {reason}"));
    let tests = tests![
        one_process::float32_training_matches_the_cpu,
        one_process::float64_training_matches_the_cpu,
        one_process::an_upload_copies_a_tensor_unless_it_is_already_on_the_device,
        one_process::logits_match_the_cpu,
        one_process::a_replayed_step_gives_the_numbers_of_a_launched_step,
        one_process::mixed_precision_follows_float32,
        one_process::two_deterministic_runs_are_equal_to_the_last_bit,
        one_process::augmented_images_match_the_cpu,
        ranks::collectives_are_exact_on_ranks_that_share_a_gpu,
        ranks::training_on_ranks_that_share_a_gpu_matches_one_rank,
        ranks::images_that_do_not_fit_stay_in_host_memory,
        ranks::batch_norm_over_ranks_matches_the_cpu,
        ranks::rank_collectives,
        ranks::rank_training,
        ranks::rank_with_little_memory,
        ranks::rank_batch_norm,
    ];
    harness::main(tests.map(|test| test.needs(&gpu)));
}

/// An error, with the reason, without a usable GPU.
fn find_gpu() -> Result<(), String> {
    if torch::gpus()?.is_empty() {
        return Err("the NVIDIA driver shows none".into());
    }
    torch::load_cuda()?;
    (torch::device_count() > 0).then_some(()).ok_or_else(|| "libtorch can use none".into())
}

/// Locks the GPU for one test at a time, because numerics are set for the whole process.
fn gpu(numerics: Numerics) -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    numerics.apply().unwrap();
    torch::set_device(GPU).unwrap();
    tch::set_num_threads(1);
    turn
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
    let logits = collect::logits(world, dataset, model, [Part::Test]).unwrap();
    logits.map_or(Vec::new(), |[logits]| (0..logits.len()).flat_map(|i| logits.row(i).to_vec()).collect())
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
