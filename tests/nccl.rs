//! The NCCL transport over a stand-in for the library that works on host memory (`fake_nccl`). The tests compare its
//! results with those over MPI, and check the order of calls and failures. They use no GPU.

mod as_ranks;
mod fake_nccl;
mod mpirun;

use std::ffi::OsStr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use as_ranks::{rank_folder, run_as_ranks};
use fake_nccl::{build, calls, run_over_fake};
use mpirun::said;
use regun::config::{Request, load};
use regun::data::{DeviceDataset, LoadOptions, load_dataset, split};
use regun::distributed::nccl::NcclLibrary;
use regun::distributed::{World, launch, process};
use regun::error::{ErrorKind, Result};
use regun::models::Model;
use regun::models::build as build_model;
use regun::train::{Observer, StepReport, TrainSettings, Trainer};
use regun::unlearn;
use tch::{Device, Kind, Tensor};

const LIMIT: Duration = Duration::from_secs(60);

/// Joins the ranks over MPI.
fn join(limit: Duration) -> World {
    process::end_on_panic();
    let world = launch::start().unwrap();
    regun::log::init(0, world.is_root());
    world.configure(limit, false);
    tch::set_num_threads(1);
    world
}

/// From this call on, collectives on host tensors run over the stand-in.
fn use_nccl(world: &World) -> Result<()> {
    world.use_nccl(&Arc::new(NcclLibrary::find()?), Device::Cpu)
}

/// Values that differ between ranks and have inexact sums.
fn numbers(world: &World, kind: Kind) -> Tensor {
    let line = Tensor::arange(3000, (Kind::Double, Device::Cpu)) * 0.37 - 500.0;
    (line * (1.0 + 0.1 * world.rank() as f64)).to_kind(kind).view([300, 10])
}

/// Name and result of each collective on `numbers`, in all dtypes.
fn all_collectives(world: &World) -> Vec<(String, Tensor)> {
    let mut results = Vec::new();
    for kind in [Kind::Float, Kind::Double, Kind::Half, Kind::BFloat16, Kind::Int64] {
        let mut keep = |call: &str, tensor: &Tensor| results.push((format!("{call} of {kind:?}"), tensor.copy()));
        let mut sum = numbers(world, kind);
        world.all_reduce(&mut sum).unwrap();
        keep("all-reduce", &sum);
        let [mut first, mut second] = [numbers(world, kind), numbers(world, kind).neg()];
        world.start_all_reduce(&mut first).unwrap();
        world.start_all_reduce(&mut second).unwrap();
        world.finish_all_reduces().unwrap();
        keep("started all-reduces", &(first - second));
        let mut at_root = numbers(world, kind);
        world.reduce(&mut at_root).unwrap();
        keep("reduce", &at_root);
        let mut broadcast = numbers(world, kind);
        world.broadcast(&mut broadcast).unwrap();
        keep("broadcast", &broadcast);
        // Rank r has 3 r rows, so rank 0 has none.
        let rows = numbers(world, kind).narrow(0, 0, 3 * world.rank() as i64);
        keep("all-gather of rows", &world.all_gather_rows(&rows).unwrap());
        if let Some(rows) = world.gather_rows(&rows).unwrap() {
            keep("gather of rows", &rows);
        }
    }
    let mut large = Tensor::arange(700_000, (Kind::Double, Device::Cpu)) * (world.rank() as f64 + 0.1);
    world.all_reduce(&mut large).unwrap();
    results.push(("a large all-reduce".into(), large));
    let mut nothing = Tensor::zeros([0, 4], (Kind::Float, Device::Cpu));
    world.all_reduce(&mut nothing).unwrap();
    world.broadcast(&mut nothing).unwrap();
    results.push(("empty rows".into(), world.all_gather_rows(&nothing).unwrap()));
    results
}

#[test]
#[ignore = "one rank of another test"]
fn rank_collectives() {
    rank_folder();
    let world = join(LIMIT);
    let over_mpi = all_collectives(&world);
    assert_eq!(world.backend(), "mpi");
    use_nccl(&world).unwrap();
    assert_eq!(world.backend(), "nccl");
    use_nccl(&world).unwrap(); // does nothing
    for ((call, got), (_, wanted)) in all_collectives(&world).iter().zip(&over_mpi) {
        assert_eq!((got.size(), got.kind()), (wanted.size(), wanted.kind()), "{call}");
        if got.numel() > 0 {
            // The order of summation changes the last place by one unit. Both transports round 16-bit sums once.
            let tolerance = match got.kind() {
                Kind::Float => 2e-7,
                Kind::Double => 4e-16,
                _ => 0.0,
            };
            let [got, wanted] = [got, wanted].map(|tensor| tensor.to_kind(Kind::Double));
            let distance = ((&got - &wanted).abs() / wanted.abs().clamp_min(1.0)).max().double_value(&[]);
            assert!(distance <= tolerance, "{call}: {distance:e} apart");
        }
    }
    let error = world.all_reduce(&mut Tensor::zeros([2], (Kind::Bool, Device::Cpu))).unwrap_err();
    assert!(error.message().contains("NCCL cannot all-reduce Bool tensors"), "{error}");
    world.barrier().unwrap();
}

#[test]
fn collectives_over_nccl_give_the_results_of_mpi_in_a_fixed_order_of_calls() {
    for n in [2, 4] {
        let folder = tempfile::tempdir().unwrap();
        let output = run_over_fake("rank_collectives", n, folder.path(), "");
        assert!(output.status.success(), "{n} ranks: {}", said(&output));
        let calls = calls(folder.path());
        assert_eq!(calls.len(), n);
        let with_id = calls.iter().filter(|calls| calls[0] == "ncclGetUniqueId").count();
        assert_eq!(with_id, 1, "one rank makes the unique id");
        for calls in &calls {
            let calls: Vec<&str> = calls.iter().map(String::as_str).filter(|call| *call != "ncclGetUniqueId").collect();
            let [first, middle @ .., before_last, last] = &calls[..] else { panic!("{calls:?}") };
            assert_eq!(
                [*first, *before_last, *last],
                ["ncclCommInitRankConfig", "ncclCommFinalize", "ncclCommDestroy"]
            );
            let count = |name: &str| middle.iter().filter(|call| **call == name).count();
            // Three all-reduces for each dtype, and a large one. An empty all-reduce makes no call.
            assert_eq!([count("ncclAllReduce"), count("ncclReduce"), count("ncclBroadcast")], [16, 5, 5]);
            assert_eq!((count("ncclAllGather"), middle.len()), (5, 31));
        }
    }
}

/// After every step, the mean loss of the epoch so far over all ranks.
struct Losses<'a>(&'a World, Vec<f64>);

impl Observer for Losses<'_> {
    fn step(&mut self, report: &StepReport<'_>) -> Result<()> {
        self.1.push(report.meter.means(self.0)?.loss);
        Ok(())
    }
}

/// A short ReGUn run with SyncBatchNorm, all-reduces of gradients during the backward pass, and a reference
/// distribution over all ranks. Returns the losses and all weights.
fn unlearn(world: &World, more: &str) -> (Vec<f64>, Tensor) {
    let setup = "data=digits model=resnet20 unlearn=regun unlearn.trainer.max_epochs=2 trainer.precision=64 \
        unlearn.regun.fixed_reference=false data.debug_subset_size=200 data.batch_size=15 split.forget_frac=0.2 \
        split.retain_frac=0.6 launch.bucket_mib=0.3 launch.first_bucket_mib=0.05";
    let overrides: Vec<String> = setup.split_whitespace().chain(more.split_whitespace()).map(String::from).collect();
    let config = load(&Request { overrides: &overrides, ..Request::default() }).unwrap().config;
    let dataset = load_dataset(&config.data, LoadOptions { cache_dir: &config.paths.cache_dir, threads: 1 }).unwrap();
    let parts = split::split(&dataset.train.labels, &config.split).unwrap();
    let dataset = DeviceDataset::new(&dataset, parts, &config.data, Kind::Double, Device::Cpu).unwrap();
    let architecture = build_model(&config.model.model).unwrap().into();
    let mut model = Model::initialise(&architecture, 42, "base", Kind::Double, Device::Cpu).unwrap();
    let settings = TrainSettings { names: None, ..TrainSettings::new(&config, world, "test", 42) };
    let mut method = unlearn::build(config.unlearn.as_ref().unwrap()).unwrap();
    let mut losses = Losses(world, Vec::new());
    Trainer { world, dataset: &dataset, model: &mut model, settings }.run(&mut *method, &mut losses).unwrap();
    let weights: Vec<Tensor> = model.state.parameters().map(|(.., tensor)| tensor.flatten(0, -1)).collect();
    (losses.1, Tensor::cat(&weights, 0))
}

fn distance(a: &Tensor, b: &Tensor) -> f64 {
    (a - b).abs().max().double_value(&[])
}

#[test]
#[ignore = "one rank of another test"]
fn rank_training() {
    rank_folder();
    let world = join(LIMIT);
    let (losses, weights) = unlearn(&world, "");
    let (_, reordered) = unlearn(&world, "launch.bucket_order=layout launch.bucket_mib=25");
    assert_eq!(distance(&reordered, &weights), 0.0, "size and order of buckets change the result");
    let (compressed_losses, compressed) = unlearn(&world, "launch.compress_gradients=bf16");
    use_nccl(&world).unwrap();
    assert!(world.overlap().unwrap().is_none(), "overlap without tracing");
    assert!(world.trace_all_reduces());
    let collectives = world.traffic().collectives;
    let (losses_over_nccl, over_nccl) = unlearn(&world, "");
    let overlap = world.overlap().unwrap().unwrap();
    // Only started all-reduces count: the buckets.
    assert!(overlap.all_reduces > 0 && overlap.all_reduces < world.traffic().collectives - collectives, "{overlap:?}");
    assert!(overlap.seconds > 0.0 && overlap.hidden_seconds <= overlap.seconds, "{overlap:?}");
    for (got, wanted) in losses_over_nccl.iter().zip(&losses) {
        assert!((got - wanted).abs() <= 1e-12 * wanted.abs(), "loss {got}, wanted {wanted}");
    }
    assert!(distance(&over_nccl, &weights) < 1e-11);
    // Both transports round compressed gradients in the same way. Compression changes the weights, but little.
    let (_, compressed_over_nccl) = unlearn(&world, "launch.compress_gradients=bf16");
    assert!(distance(&compressed_over_nccl, &compressed) < 1e-11);
    let moved = distance(&compressed, &weights);
    assert!(moved > 1e-7 && moved < 0.1 * weights.abs().max().double_value(&[]), "{moved}");
    for (got, wanted) in compressed_losses.iter().zip(&losses) {
        assert!((got - wanted).abs() <= 0.02 * wanted.abs(), "loss {got} with compression, {wanted} without");
    }
    world.barrier().unwrap();
}

#[test]
fn training_over_nccl_gives_the_results_of_mpi() {
    let folder = tempfile::tempdir().unwrap();
    let output = run_over_fake("rank_training", 2, folder.path(), "");
    assert!(output.status.success(), "{}", said(&output));
}

/// Makes all-reduces until one fails, as training does.
#[test]
#[ignore = "one rank of another test"]
fn rank_summing() {
    rank_folder();
    let world = join(Duration::from_secs(2));
    world.set_current_step("base, epoch 3, step 7".into());
    let failed = use_nccl(&world).and_then(|()| {
        // Far more calls than it takes to fail. The monitor thread must find the failure while all-reduces go on.
        for _ in 0..2000 {
            world.all_reduce(&mut Tensor::from_slice(&[1.0f64, 2.0]))?;
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(())
    });
    if let Err(error) = failed {
        process::fail(&error);
    }
}

#[track_caller]
fn fails_with(fault: &str, wanted: &[&str]) {
    let folder = tempfile::tempdir().unwrap();
    let clock = Instant::now();
    let output = run_over_fake("rank_summing", 2, folder.path(), fault);
    let text = said(&output);
    assert_eq!(output.status.code(), Some(71), "{fault}: {text}");
    for part in wanted.iter().chain(&[" of 2 on "]) {
        assert!(text.contains(part), "{fault}: no `{part}` in {text}");
    }
    assert!(
        clock.elapsed() < Duration::from_secs(15),
        "{fault}: the job ended too late for the monitor to have ended it"
    );
}

#[test]
fn a_rank_that_never_joins_ends_the_job_at_the_start() {
    fails_with("init_hangs:1", &["NCCL did not start within 2.0 s", "NCCL_DEBUG"]);
}

#[test]
fn an_asynchronous_error_ends_the_job_and_names_the_collective_and_the_step() {
    let wanted = [
        "remote process exited (code 6); the fake was told to fail",
        "all-reduce of [2] Double",
        "base, epoch 3, step 7",
    ];
    fails_with("async_error:5", &wanted);
}

#[test]
fn an_unfinished_collective_ends_the_job() {
    fails_with("stuck:3", &["waited 2.0 s in collective", "all-reduce of [2] Double (base, epoch 3, step 7)"]);
}

#[test]
fn a_refused_call_ends_the_job() {
    fails_with("call_error:2", &["ncclAllReduce: some error (code 3)", "step 7"]);
}

#[test]
#[ignore = "one rank of another test"]
fn rank_dying() {
    rank_folder();
    let world = join(LIMIT);
    use_nccl(&world).unwrap();
    if world.rank() == 1 {
        let _ = std::process::Command::new("kill").args(["-KILL", &std::process::id().to_string()]).status();
    }
    loop {
        world.all_reduce(&mut Tensor::from_slice(&[1.0f64])).unwrap();
    }
}

#[test]
fn a_killed_rank_ends_the_others() {
    let folder = tempfile::tempdir().unwrap();
    let clock = Instant::now();
    let output = run_over_fake("rank_dying", 3, folder.path(), "");
    assert_eq!(output.status.code(), Some(137), "{}", said(&output));
    assert!(clock.elapsed() < Duration::from_secs(30));
}

#[test]
fn libraries_that_do_not_fit_are_refused_with_the_reason() {
    let folder = tempfile::tempdir().unwrap();
    let refused = |path: &OsStr, wanted: &str| {
        let error = NcclLibrary::open(path).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Missing);
        assert!(error.message().contains(wanted), "no `{wanted}` in {error}");
        assert!(error.hint_text().is_some_and(|hint| hint.contains("REGUN_NCCL_LIB")), "{error}");
    };
    refused(OsStr::new("/nowhere/libnccl.so.2"), "/nowhere/libnccl.so.2: cannot open shared object file");
    let incomplete = build(folder.path(), &["-DWITHOUT_FINALIZE"]);
    refused(incomplete.as_os_str(), "it has no ncclCommFinalize");
    std::fs::create_dir(folder.path().join("old")).unwrap();
    let old = build(&folder.path().join("old"), &["-DVERSION=2708"]);
    refused(old.as_os_str(), "it is version 2.7.8");
    let ours = build(folder.path(), &[]);
    // It has the path of the incomplete library, which is closed by now.
    assert_eq!(NcclLibrary::open(ours.as_os_str()).unwrap().version().to_string(), "2.28.9");
}

/// In the layout of the Python wheels NCCL lies beside libtorch, so no environment variable is needed.
#[test]
fn the_library_beside_libtorch_is_found() {
    let beside = regun::torch::libtorch_folder().unwrap().join("../../nvidia/nccl/lib/libnccl.so.2");
    if std::env::var_os("REGUN_NCCL_LIB").is_none() && beside.exists() {
        let version = NcclLibrary::find().unwrap().version().to_string();
        assert!(version.starts_with("2."), "{version}");
    }
}

#[test]
#[ignore = "one rank of another test"]
fn rank_without_a_library() {
    rank_folder();
    let _world = join(LIMIT);
    process::fail(&NcclLibrary::open(OsStr::new("/nowhere/libnccl.so.2")).unwrap_err());
}

#[test]
fn a_missing_library_is_reported_with_a_hint() {
    let folder = tempfile::tempdir().unwrap();
    let output = run_as_ranks("rank_without_a_library", 2, folder.path());
    let text = said(&output);
    assert_eq!(output.status.code(), Some(3), "{text}");
    assert!(text.contains("NCCL cannot be opened") && text.contains("REGUN_NCCL_LIB chooses the file"), "{text}");
}

/// A single rank makes no call to NCCL.
#[test]
#[ignore = "one rank of another test"]
fn rank_alone() {
    rank_folder();
    let world = join(LIMIT);
    use_nccl(&world).unwrap();
    assert_eq!((world.size(), world.backend()), (1, "solo"));
    let mut tensor = Tensor::from_slice(&[1.0f64]);
    world.all_reduce(&mut tensor).unwrap();
    assert_eq!(tensor.double_value(&[0]), 1.0);
}

#[test]
fn a_single_rank_needs_no_nccl() {
    let folder = tempfile::tempdir().unwrap();
    let output = run_over_fake("rank_alone", 1, folder.path(), "");
    assert!(output.status.success(), "{}", said(&output));
    assert!(calls(folder.path()).is_empty());
}
