//! The same numbers on a GPU as on the CPU, and over NCCL as in one process. Where no GPU can be used each test says so
//! and passes: `make gpu-check` takes this program to a machine that has one.
//!
//! Ranks share one GPU. NCCL refuses that, unless it takes them for different hosts (`NCCL_HOSTID`).

mod as_ranks;
mod mpirun;
mod training;

use std::ffi::CString;
use std::path::Path;
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use as_ranks::{rank_folder, run_as_ranks};
use mpirun::said;
use regun::config::{Config, Request, load};
use regun::data::augment::{Augment, SampleKeys};
use regun::data::source::{Dataset, Images};
use regun::data::split::Parts;
use regun::data::{Corpus, Role, source, split};
use regun::dist::{World, launch, placement};
use regun::error::Result;
use regun::eval::collect;
use regun::models::build;
use regun::random::Stream;
use regun::torch::{self, Numerics};
use regun::train::{Model, Observer, Settings, StepReport, Trainer};
use regun::unlearn;
use tch::{Device, Kind, Tensor};
use training::method;

const GPU: Device = Device::Cuda(0);
const PLAIN: Numerics = Numerics { deterministic: false, tf32: false, benchmark: false };
const DETERMINISTIC: Numerics = Numerics { deterministic: true, ..PLAIN };

/// The GPU for one test at a time: numerics are those of the process. None where there is none.
fn gpu(numerics: Numerics) -> Option<MutexGuard<'static, ()>> {
    static TURN: Mutex<()> = Mutex::new(());
    static FOUND: LazyLock<Result<(), String>> = LazyLock::new(|| {
        if torch::gpus()?.is_empty() {
            return Err("the NVIDIA driver shows none".into());
        }
        // Before the first use of the GPU: cuBLAS keeps what it reads then.
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

/// The images move and are mirrored, too. 5 batches an epoch, the last one smaller. The learning rate is low: training
/// amplifies differences of rounding.
const SETUP: &str = "data=digits model=resnet20 data.debug_subset_size=200 data.batch_size=32 trainer.precision=32 \
    split.forget_frac=0.3 split.retain_frac=0.55 split.validation_frac=0.15 model.optim.lr=0.002 trainer.max_epochs=2 \
    data.transforms.random_crop.enabled=true data.transforms.horizontal_flip.enabled=true";

fn configure(variant: &str) -> Config {
    let overrides: Vec<String> = SETUP.split_whitespace().chain(variant.split_whitespace()).map(String::from).collect();
    load(&Request { overrides: &overrides, ..Request::default() }).unwrap().config
}

/// What the configuration of each method needs to be done soon.
fn methods() -> Vec<String> {
    let brief = |name: &str| match name {
        "ssd" => "unlearn.alpha=1.2",
        "amun" => {
            "unlearn.trainer.max_epochs=1 unlearn.optim.lr=0.001 unlearn.attack.steps=5 unlearn.attack.max_rounds=3"
        }
        "lur" => "unlearn.pruning.enabled=false unlearn.trainer.max_epochs=1",
        // At 0.01 ten steps make 2e-3 of float32's rounding.
        "scrub" => "unlearn.trainer.max_epochs=1 unlearn.optim.lr=0.001",
        _ => "unlearn.trainer.max_epochs=2",
    };
    unlearn::REGISTRY.iter().map(|method| format!("unlearn={} {}", method.name, brief(method.name))).collect()
}

/// Mean loss of the epoch so far after every step, over all ranks.
struct Losses<'a>(&'a World, Vec<f64>);

impl Observer for Losses<'_> {
    fn step(&mut self, report: &StepReport<'_>) -> Result<()> {
        self.1.push(report.meter.means(self.0)?.loss);
        Ok(())
    }
}

struct Trained {
    losses: Vec<f64>,
    /// All parameters, one after the other, float64 on the CPU.
    weights: Tensor,
    /// Logits of the test images, rank 0 only.
    logits: Vec<f32>,
}

fn corpus(config: &Config, kind: Kind, device: Device) -> Corpus {
    let dataset = source::load(&config.data, source::Means { cache_dir: &config.paths.cache_dir, threads: 1 }).unwrap();
    let parts = split::split(&dataset.train.labels, &config.split).unwrap();
    Corpus::new(&dataset, parts, &config.data, kind, device).unwrap()
}

fn train(world: &World, config: &Config, kind: Kind, device: Device) -> Trained {
    let corpus = corpus(config, kind, device);
    let architecture = build(&config.model.model).unwrap().into();
    let mut model = Model::initialise(&architecture, 42, "base", kind, device).unwrap();
    let mut losses = Losses(world, Vec::new());
    let settings = Settings { names: None, ..Settings::new(config, world, "test", 42) };
    Trainer { world, corpus: &corpus, model: &mut model, settings }
        .run(&mut *method(config, None), &mut losses)
        .unwrap();
    let flat = |tensor: &Tensor| tensor.to_device(Device::Cpu).to_kind(Kind::Double).flatten(0, -1);
    let weights: Vec<Tensor> = model.state.parameters().map(|(.., tensor)| flat(tensor)).collect();
    let logits = logits(world, &corpus, &model);
    Trained { losses: losses.1, weights: Tensor::cat(&weights, 0), logits }
}

/// Of the test images, at rank 0; none elsewhere.
fn logits(world: &World, corpus: &Corpus, model: &Model) -> Vec<f32> {
    let logits = collect::logits(world, corpus, model, Role::Test).unwrap();
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

#[test]
fn float32_training_is_that_of_the_cpu() {
    let Some(_turn) = gpu(PLAIN) else { return };
    let world = World::solo();
    for variant in methods().into_iter().chain([String::new()]) {
        let config = configure(&variant);
        let [ours, wanted] = [GPU, Device::Cpu].map(|device| train(&world, &config, Kind::Float, device));
        assert_near(&variant, &ours.losses, &wanted.losses, 1e-5, 1e-3);
        let apart = distance(&ours.weights, &wanted.weights);
        println!("{variant}: {} steps, weights {apart:.1e} apart", ours.losses.len());
        assert!(apart <= 1e-3, "{variant}: weights {apart:e} apart");
    }
}

/// What float32 hides: with 53 bits only a different computation is different.
#[test]
fn float64_training_is_that_of_the_cpu() {
    let Some(_turn) = gpu(PLAIN) else { return };
    for variant in ["", "unlearn=regun unlearn.trainer.max_epochs=2", "unlearn=scrub unlearn.trainer.max_epochs=2"] {
        let config = configure(&format!("trainer.precision=64 {variant}"));
        let [ours, wanted] = [GPU, Device::Cpu].map(|device| train(&World::solo(), &config, Kind::Double, device));
        assert_near(variant, &ours.losses, &wanted.losses, 1e-12, 1e-8);
        assert!(distance(&ours.weights, &wanted.weights) <= 1e-8, "{variant}");
    }
}

#[test]
fn an_upload_brings_values_and_leaves_alone_what_is_there_already() {
    let Some(_turn) = gpu(PLAIN) else { return };
    let host = Tensor::arange(1000, (Kind::Int64, Device::Cpu));
    let there = torch::upload(&host, Device::Cuda(0)).unwrap();
    let again = torch::upload(&there, Device::Cuda(0)).unwrap();
    assert_eq!((there.device(), again.data_ptr()), (Device::Cuda(0), there.data_ptr()));
    assert_eq!(torch::upload(&again, Device::Cpu).unwrap(), host);
}

#[test]
fn logits_are_those_of_the_cpu() {
    let Some(_turn) = gpu(PLAIN) else { return };
    let config = configure("");
    let architecture = build(&config.model.model).unwrap().into();
    let [ours, wanted] = [GPU, Device::Cpu].map(|device| {
        let model = Model::initialise(&architecture, 42, "base", Kind::Float, device).unwrap();
        logits(&World::solo(), &corpus(&config, Kind::Float, device), &model)
    });
    assert!(!ours.is_empty() && ours.len() == wanted.len());
    let scale = wanted.iter().fold(1.0f32, |largest, logit| largest.max(logit.abs()));
    let apart = ours.iter().zip(&wanted).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max) / scale;
    assert!(apart <= 1e-4, "{apart:e} apart");
}

#[test]
fn a_recorded_step_computes_what_a_launched_one_does() {
    // Deterministic, so that nothing but the recording can make a difference.
    let Some(_turn) = gpu(DETERMINISTIC) else { return };
    for variant in [
        "trainer.max_epochs=3",
        "trainer.max_epochs=3 model.optim.name=adamw model.optim.lr=0.001",
        "trainer.max_epochs=3 trainer.accumulate_grad_batches=2 trainer.gradient_clip_val=0.5",
        "trainer.max_epochs=3 trainer.precision=bf16-mixed",
        "unlearn=regun unlearn.trainer.max_epochs=5",
        "unlearn=salun unlearn.trainer.max_epochs=5",
        "unlearn=scrub unlearn.trainer.max_epochs=5",
        "unlearn=lur unlearn.pruning.enabled=false unlearn.trainer.max_epochs=5",
    ] {
        let run = |graph: &str| {
            let config = configure(&format!("{variant} trainer.cuda_graph={graph}"));
            train(&World::solo(), &config, Kind::Float, GPU)
        };
        let (recorded, launched) = (run("true"), run("false"));
        assert_near(variant, &recorded.losses, &launched.losses, 1e-6, 1e-6);
        assert!(distance(&recorded.weights, &launched.weights) <= 1e-6, "{variant}");
    }
}

#[test]
fn mixed_precision_follows_float32() {
    let Some(_turn) = gpu(PLAIN) else { return };
    let run = |precision: &str| {
        let config = configure(&format!("trainer.max_epochs=4 model.optim.lr=0.02 trainer.precision={precision}"));
        train(&World::solo(), &config, Kind::Float, GPU)
    };
    let (wide, bfloat16, float16) = (run("32"), run("bf16-mixed"), run("16-mixed"));
    assert_near("bf16-mixed", &bfloat16.losses, &wide.losses, 0.05, 0.05);
    // Narrow products, or nothing would have been tested: in the first step, where nothing else can make a difference.
    for (name, narrow) in [("bf16-mixed", &bfloat16), ("16-mixed", &float16)] {
        let apart = (narrow.losses[0] - wide.losses[0]).abs() / wide.losses[0];
        assert!(apart > 1e-6, "{name} computed in float32: {apart:e} apart");
    }
    // The first steps may be left out while the loss scale comes down: losses are not those of float32.
    let (first, last) = (float16.losses[0], *float16.losses.last().unwrap());
    assert!(last.is_finite() && last < first, "16-mixed: from {first} to {last}");
}

#[test]
fn deterministic_runs_are_equal_to_the_last_bit() {
    let Some(_turn) = gpu(DETERMINISTIC) else { return };
    for variant in ["trainer.max_epochs=3", "unlearn=regun unlearn.trainer.max_epochs=3"] {
        let config = configure(&format!("trainer.deterministic=true trainer.precision=bf16-mixed {variant}"));
        let [one, other] = [0, 1].map(|_| train(&World::solo(), &config, Kind::Float, GPU));
        assert_eq!(one.losses, other.losses, "{variant}");
        assert!(one.weights == other.weights && one.logits == other.logits, "{variant}");
    }
}

/// All transforms at once, on images of 20 x 24 pixels.
#[test]
fn augmented_images_are_those_of_the_cpu() {
    let Some(_turn) = gpu(PLAIN) else { return };
    let all = "data=cifar10 data.transforms.normalize.mean=[0,0,0] data.transforms.normalize.std=[1,1,1] \
        data.transforms.random_crop.size=20 +data.transforms.randaugment.enabled=true \
        +data.transforms.randaugment.num_ops=2 +data.transforms.randaugment.magnitude=9 \
        +data.transforms.randaugment.num_magnitude_bins=31 +data.transforms.color_jitter.enabled=true \
        +data.transforms.color_jitter.brightness=0.4 +data.transforms.color_jitter.contrast=0.4 \
        +data.transforms.color_jitter.saturation=0.4 +data.transforms.color_jitter.hue=0.1 \
        +data.transforms.random_erasing.enabled=true +data.transforms.random_erasing.p=0.5 \
        +data.transforms.random_erasing.scale=[0.02,0.2] +data.transforms.random_erasing.ratio=[0.3,3.3] \
        +data.transforms.random_erasing.value=random";
    let resized = "data.transforms.imagenet_resize.enabled=true data.transforms.imagenet_resize.train_size=28 \
        data.transforms.imagenet_resize.eval_resize=32 data.transforms.imagenet_resize.eval_crop=28 \
        data.transforms.imagenet_resize.normalize.mean=[0,0,0] data.transforms.imagenet_resize.normalize.std=[1,1,1]";
    let place = Tensor::arange(256 * 3 * 20 * 24, (Kind::Int64, Device::Cpu));
    let pixels = (&place * &place * 7 + &place * 13).remainder(256).to_kind(Kind::Uint8).view([256, 3, 20, 24]);
    let (stream, samples) = (Stream::new(7, "base/augment"), (0..256).collect::<Vec<usize>>());
    for variant in ["", resized] {
        let overrides: Vec<String> =
            all.split_whitespace().chain(variant.split_whitespace()).map(String::from).collect();
        let config = load(&Request { overrides: &overrides, ..Request::default() }).unwrap().config;
        let images = |device: Device| {
            let augment = Augment::new(&config.data.transforms, (20, 24), Kind::Float, device).unwrap();
            let keys = SampleKeys { stream: &stream, epoch: 3, samples: &samples };
            let pixels = pixels.to_device(device);
            [augment.train(&pixels, &keys).unwrap(), augment.eval(&pixels).unwrap()]
                .map(|images| images.to_device(Device::Cpu))
        };
        for (view, (got, wanted)) in ["training", "evaluation"].iter().zip(images(GPU).iter().zip(&images(Device::Cpu)))
        {
            let apart = (got - wanted).abs();
            let share = |limit: f64| apart.gt(limit).to_kind(Kind::Double).mean(Kind::Double).double_value(&[]);
            println!(
                "{view}: {:.1e} of the values differ, {:.1e} by more than a level",
                share(1e-5),
                share(1.01 / 255.0)
            );
            // A rounding to whole levels may go the other way, and what comes after it may make more of that.
            assert!(share(1e-5) <= 1e-3 && share(1.01 / 255.0) <= 1e-4, "{view}: up to {}", apart.max());
        }
    }
}

/// Joins the ranks, all on the first GPU.
fn join() -> (World, Device) {
    launch::end_on_panic();
    let world = launch::start().unwrap();
    regun::log::init(0, world.is_root());
    world.configure(Duration::from_secs(60), false);
    tch::set_num_threads(1);
    PLAIN.apply().unwrap();
    let host = CString::new(format!("regun-rank-{}", world.rank())).unwrap();
    torch::default_environment(c"NCCL_HOSTID", &host).unwrap();
    let config = configure("trainer.accelerator=gpu trainer.devices=[0] launch.share_gpus=true");
    let device = placement::choose(&world, &config).unwrap();
    assert_eq!(device, GPU);
    assert_eq!(world.backend(), if world.size() == 1 { "solo" } else { "nccl" });
    (world, device)
}

/// Small whole numbers: exact in all dtypes, sums included.
fn numbers(rank: usize, kind: Kind) -> Tensor {
    let line = Tensor::arange(1200, (Kind::Int64, Device::Cpu)).remainder(16);
    (line * (rank as i64 + 1)).to_kind(kind).view([300, 4])
}

#[test]
fn rank_collectives() {
    let Some(_) = rank_folder() else { return };
    let (world, device) = join();
    let (rank, size) = (world.rank(), world.size());
    for kind in [Kind::Float, Kind::Double, Kind::Half, Kind::BFloat16, Kind::Int64] {
        let mine = || numbers(rank, kind).to_device(device);
        let check = |what: &str, got: &Tensor, wanted: &Tensor| {
            assert_eq!((got.kind(), got.size()), (kind, wanted.size()), "{what} of {kind:?}");
            assert_eq!(got.to_device(Device::Cpu), *wanted, "{what} of {kind:?} on {size} ranks");
        };
        // 1 + 2 + ... times the first rank's.
        let sum = numbers(size * (size + 1) / 2 - 1, kind);
        let mut tensor = mine();
        world.sum(&mut tensor).unwrap();
        check("sum", &tensor, &sum);
        let [mut first, mut second] = [mine(), mine().neg()];
        world.begin_sum(&mut first).unwrap();
        world.begin_sum(&mut second).unwrap();
        world.finish_sums().unwrap();
        check("first sum that was begun", &first, &sum);
        check("second sum that was begun", &second, &sum.neg());
        let mut tensor = mine();
        world.sum_at_root(&mut tensor).unwrap();
        check("sum at the root", &tensor, &if rank == 0 { sum } else { numbers(rank, kind) });
        let mut tensor = mine();
        world.from_root(&mut tensor).unwrap();
        check("broadcast", &tensor, &numbers(0, kind));
        // Rank 0 has no row, the others more and more.
        let rows = |rank: usize| numbers(rank, kind).narrow(0, 0, 3 * rank as i64);
        let all = Tensor::cat(&(0..size).map(rows).collect::<Vec<_>>(), 0);
        check("all rows", &world.all_gather_rows(&rows(rank).to_device(device)).unwrap(), &all);
        if let Some(gathered) = world.gather_rows(&rows(rank).to_device(device)).unwrap() {
            check("rows at the root", &gathered, &all);
        }
    }
    // A large sum that depends on what is still in the queue before it, and is read at once.
    let mut large = Tensor::ones([1 << 22], (Kind::Float, device));
    for _ in 0..20 {
        large = &large * 2.0;
        world.sum(&mut large).unwrap();
        large /= 2.0 * size as f64;
    }
    assert_eq!([large.min(), large.max()].map(|value| value.double_value(&[])), [1.0, 1.0]);
    let x = Tensor::full([3], rank as f64 + 1.0, (Kind::Double, device)).set_requires_grad(true);
    let y = world.sum_in_graph(&(&x * &x)).unwrap();
    y.sum(Kind::Double).backward();
    // d/dx of all ranks' losses, each of which is the whole sum.
    let wanted = 2.0 * (rank as f64 + 1.0) * size as f64;
    assert_eq!(Vec::<f64>::try_from(x.grad().to_device(Device::Cpu)).unwrap(), [wanted; 3]);
    world.barrier().unwrap();
}

#[track_caller]
fn run_ranks(name: &str, n: usize) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let output = run_as_ranks(name, n, folder.path());
    assert!(output.status.success(), "{n} ranks: {}", said(&output));
    folder
}

#[test]
fn collectives_are_exact_on_ranks_that_share_a_gpu() {
    let Some(_turn) = gpu(PLAIN) else { return };
    for n in [1, 2, 4] {
        run_ranks("rank_collectives", n);
    }
}

/// Batches of 32 over SyncBatchNorm; buckets so small that there are several.
fn variants() -> Vec<String> {
    let buckets = "trainer.precision=64 launch.bucket_mib=0.3 launch.first_bucket_mib=0.05 trainer.cuda_graph=false";
    [
        "",
        "unlearn=regun unlearn.trainer.max_epochs=2",
        "unlearn=lur unlearn.pruning.enabled=false unlearn.trainer.max_epochs=2",
    ]
    .iter()
    .map(|variant| format!("{buckets} {variant}"))
    .collect()
}

/// Float32, in which steps can be recorded, with the collectives in them; long enough for that.
const RECORDED: &str = "trainer.max_epochs=3 trainer.cuda_graph";

fn write(folder: &Path, name: &str, losses: &[f64]) {
    std::fs::write(folder.join(name), serde_json::to_string(losses).unwrap()).unwrap();
}

fn read(folder: &Path, name: &str) -> Vec<f64> {
    serde_json::from_str(&std::fs::read_to_string(folder.join(name)).unwrap()).unwrap()
}

#[test]
fn rank_training() {
    let Some(folder) = rank_folder() else { return };
    let (world, device) = join();
    for (i, variant) in variants().iter().enumerate() {
        let trained = train(&world, &configure(variant), Kind::Double, device);
        if world.is_root() {
            write(&folder, &i.to_string(), &trained.losses);
        }
    }
    for graph in ["true", "false"] {
        let trained = train(&world, &configure(&format!("{RECORDED}={graph}")), Kind::Float, device);
        if world.is_root() {
            write(&folder, graph, &trained.losses);
        }
    }
    world.barrier().unwrap();
}

#[test]
fn training_on_ranks_that_share_a_gpu_is_that_of_one() {
    let Some(_turn) = gpu(PLAIN) else { return };
    let one = run_ranks("rank_training", 1);
    for n in [2, 4] {
        let many = run_ranks("rank_training", n);
        for (i, variant) in variants().iter().enumerate() {
            let [got, wanted] = [&many, &one].map(|folder| read(folder.path(), &i.to_string()));
            assert_near(&format!("{n} ranks, {variant}"), &got, &wanted, 1e-12, 1e-8);
        }
        let [recorded, launched, alone] =
            [(&many, "true"), (&many, "false"), (&one, "false")].map(|(folder, name)| read(folder.path(), name));
        assert_near(&format!("{n} ranks, recorded"), &recorded, &launched, 1e-5, 1e-3);
        assert_near(&format!("{n} ranks, float32"), &launched, &alone, 1e-5, 1e-3);
    }
}

/// A process of its own: libtorch keeps the memory that it once had.
#[test]
fn rank_with_little_memory() {
    let Some(_) = rank_folder() else { return };
    let (_, device) = join();
    let free = torch::free_device_memory(device).unwrap().unwrap();
    let left: u64 = 256 << 20;
    let _taken = Tensor::empty([free.saturating_sub(left) as i64], (Kind::Uint8, device));
    // 192 MiB: more than half of what is left.
    const SIDE: usize = 512;
    let images = |n: usize| Images {
        pixels: vec![51; n * 3 * SIDE * SIDE].into(),
        labels: vec![0; n],
        channels: 3,
        height: SIDE,
        width: SIDE,
    };
    let dataset = Dataset {
        name: "grey".into(),
        train: images(255),
        test: images(1),
        num_classes: 1,
        fingerprint: String::new(),
        class_names: Vec::new(),
    };
    let before = torch::free_device_memory(device).unwrap().unwrap();
    let plain = "data.transforms.normalize.mean=[0,0,0] data.transforms.normalize.std=[1,1,1]";
    let parts = Parts { retain: vec![3, 254], ..Parts::default() };
    let corpus = Corpus::new(&dataset, parts, &configure(plain).data, Kind::Float, device).unwrap();
    let (images, labels) = corpus.fetch(Role::Retain, &[3, 254], None).unwrap();
    assert_eq!([images.device(), labels.device()], [device, device]);
    assert_eq!(
        images.to_device(Device::Cpu),
        Tensor::full([2, 3, 512, 512], f64::from(51.0f32 * (1.0 / 255.0)), (Kind::Float, Device::Cpu))
    );
    let taken = before.saturating_sub(torch::free_device_memory(device).unwrap().unwrap());
    assert!(taken < 96 << 20, "{taken} bytes of the GPU for two images");
}

#[test]
fn images_that_do_not_fit_stay_in_host_memory() {
    let Some(_turn) = gpu(PLAIN) else { return };
    run_ranks("rank_with_little_memory", 1);
}
