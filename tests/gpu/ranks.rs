//! Ranks that share the first GPU.
//!
//! Functions called `rank_...` run on each rank.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use regun::data::DeviceDataset;
use regun::data::Part;
use regun::data::split::SplitIndices;
use regun::data::{Dataset, Fingerprints, Images};
use regun::distributed::device_placement::{self, AcceleratorRequest, DeviceBound, DeviceRequest};
use regun::distributed::{World, launch, process};
use regun::models::batch_norm::BatchNorm;
use regun::models::layout::{LayoutBuilder, StateLayout};
use regun::models::{Forward, State, Statistics};
use regun::torch;
use regun::torch::all_reduce_in_graph;
use tch::{Device, Kind, Tensor};

use crate::as_ranks::{rank_folder, run_as_ranks};
use crate::mpirun::said;
use crate::{GPU, PLAIN, assert_near, configure, gpu, train};

/// Joins the ranks, all on the first GPU.
fn join() -> (World, Device) {
    process::end_on_panic();
    let world = launch::start().unwrap();
    regun::log::init(0, world.is_root());
    world.configure(Duration::from_secs(60), false);
    tch::set_num_threads(1);
    PLAIN.apply().unwrap();
    let request =
        DeviceRequest { accelerator: AcceleratorRequest::Gpu, devices: DeviceBound::These(vec![0]), share_gpus: true };
    let device = device_placement::choose_device(&world, &request).unwrap();
    assert_eq!(device, GPU);
    assert_eq!(world.backend(), if world.size() == 1 { "solo" } else { "nccl" });
    (world, device)
}

/// Small whole numbers. They and their sums are exact in all dtypes.
fn numbers(rank: usize, kind: Kind) -> Tensor {
    let line = Tensor::arange(1200, (Kind::Int64, Device::Cpu)).remainder(16);
    (line * (rank as i64 + 1)).to_kind(kind).view([300, 4])
}

pub fn rank_collectives() {
    rank_folder();
    let (world, device) = join();
    let (rank, size) = (world.rank(), world.size());
    for kind in [Kind::Float, Kind::Double, Kind::Half, Kind::BFloat16, Kind::Int64] {
        let mine = || numbers(rank, kind).to_device(device);
        let check = |what: &str, got: &Tensor, wanted: &Tensor| {
            assert_eq!((got.kind(), got.size()), (kind, wanted.size()), "{what} of {kind:?}");
            assert_eq!(got.to_device(Device::Cpu), *wanted, "{what} of {kind:?} on {size} ranks");
        };
        // The sum over ranks is 1 + 2 + ... times the values of rank 0.
        let sum = numbers(size * (size + 1) / 2 - 1, kind);
        let mut tensor = mine();
        world.all_reduce(&mut tensor).unwrap();
        check("all-reduce", &tensor, &sum);
        let [mut first, mut second] = [mine(), mine().neg()];
        world.start_all_reduce(&mut first).unwrap();
        world.start_all_reduce(&mut second).unwrap();
        world.finish_all_reduces().unwrap();
        check("first started all-reduce", &first, &sum);
        check("second started all-reduce", &second, &sum.neg());
        let mut tensor = mine();
        world.reduce(&mut tensor).unwrap();
        check("reduce to the root", &tensor, &if rank == 0 { sum } else { numbers(rank, kind) });
        let mut tensor = mine();
        world.broadcast(&mut tensor).unwrap();
        check("broadcast", &tensor, &numbers(0, kind));
        // Rank r has 3 r rows, so rank 0 has none.
        let rows = |rank: usize| numbers(rank, kind).narrow(0, 0, 3 * rank as i64);
        let all = Tensor::cat(&(0..size).map(rows).collect::<Vec<_>>(), 0);
        check("all-gather of rows", &world.all_gather_rows(&rows(rank).to_device(device)).unwrap(), &all);
        if let Some(gathered) = world.gather_rows(&rows(rank).to_device(device)).unwrap() {
            check("gather of rows at the root", &gathered, &all);
        }
    }
    // A large all-reduce whose input is still being computed on the device, and whose result is used at once.
    let mut large = Tensor::ones([1 << 22], (Kind::Float, device));
    for _ in 0..20 {
        large = &large * 2.0;
        world.all_reduce(&mut large).unwrap();
        large /= 2.0 * size as f64;
    }
    assert_eq!([large.min(), large.max()].map(|value| value.double_value(&[])), [1.0, 1.0]);
    let x = Tensor::full([3], rank as f64 + 1.0, (Kind::Double, device)).set_requires_grad(true);
    let y = all_reduce_in_graph(&world, &(&x * &x)).unwrap();
    y.sum(Kind::Double).backward();
    // The derivative of the losses of all ranks. Each loss is the whole sum of squares.
    let wanted = 2.0 * (rank as f64 + 1.0) * size as f64;
    assert_eq!(Vec::<f64>::try_from(x.grad().to_device(Device::Cpu)).unwrap(), [wanted; 3]);
    world.barrier().unwrap();
}

#[track_caller]
fn run_ranks(name: &str, n: usize) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let output = run_as_ranks(&format!("ranks::{name}"), n, folder.path());
    assert!(output.status.success(), "{n} ranks: {}", said(&output));
    folder
}

pub fn collectives_are_exact_on_ranks_that_share_a_gpu() {
    let _turn = gpu(PLAIN);
    for n in [1, 2, 4] {
        run_ranks("rank_collectives", n);
    }
}

/// Batches of 32 with SyncBatchNorm. The buckets are so small that there are several.
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

/// Steps of float32 training are captured with their collectives. Three epochs are long enough for replays.
const CAPTURED: &str = "trainer.max_epochs=3 trainer.cuda_graph";

fn write(folder: &Path, name: &str, losses: &[f64]) {
    std::fs::write(folder.join(name), serde_json::to_string(losses).unwrap()).unwrap();
}

fn read(folder: &Path, name: &str) -> Vec<f64> {
    serde_json::from_str(&std::fs::read_to_string(folder.join(name)).unwrap()).unwrap()
}

pub fn rank_training() {
    let folder = rank_folder();
    let (world, device) = join();
    for (i, variant) in variants().iter().enumerate() {
        let trained = train(&world, &configure(variant), Kind::Double, device);
        if world.is_root() {
            write(&folder, &i.to_string(), &trained.losses);
        }
    }
    for graph in ["true", "false"] {
        let trained = train(&world, &configure(&format!("{CAPTURED}={graph}")), Kind::Float, device);
        if world.is_root() {
            write(&folder, graph, &trained.losses);
        }
    }
    world.barrier().unwrap();
}

pub fn training_on_ranks_that_share_a_gpu_matches_one_rank() {
    let _turn = gpu(PLAIN);
    let one = run_ranks("rank_training", 1);
    for n in [2, 4] {
        let many = run_ranks("rank_training", n);
        for (i, variant) in variants().iter().enumerate() {
            let [got, wanted] = [&many, &one].map(|folder| read(folder.path(), &i.to_string()));
            assert_near(&format!("{n} ranks, {variant}"), &got, &wanted, 1e-12, 1e-8);
        }
        let [replayed, launched, alone] =
            [(&many, "true"), (&many, "false"), (&one, "false")].map(|(folder, name)| read(folder.path(), name));
        assert_near(&format!("{n} ranks, replayed"), &replayed, &launched, 1e-5, 1e-3);
        assert_near(&format!("{n} ranks, float32"), &launched, &alone, 1e-5, 1e-3);
    }
}

/// Runs in a process of its own, because libtorch keeps memory that it has allocated once.
pub fn rank_with_little_memory() {
    rank_folder();
    let (_, device) = join();
    let free = torch::free_device_memory(device).unwrap().unwrap();
    let left: u64 = 256 << 20;
    let _taken = Tensor::empty([free.saturating_sub(left) as i64], (Kind::Uint8, device));
    // 192 MiB, more than half of the memory left.
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
        fingerprints: Fingerprints::default(),
        class_names: Vec::new(),
        no_test: None,
    };
    let before = torch::free_device_memory(device).unwrap().unwrap();
    let plain = "data.transforms.normalize.mean=[0,0,0] data.transforms.normalize.std=[1,1,1]";
    let parts = SplitIndices { retain: vec![3, 254], ..SplitIndices::default() };
    let dataset = DeviceDataset::new(&dataset, parts, &configure(plain).data, Kind::Float, device).unwrap();
    let (images, labels) = dataset.make_batch(Part::Retain, &[3, 254], None).unwrap();
    assert_eq!([images.device(), labels.device()], [device, device]);
    assert_eq!(
        images.to_device(Device::Cpu),
        Tensor::full([2, 3, 512, 512], f64::from(51.0f32 * (1.0 / 255.0)), (Kind::Float, Device::Cpu))
    );
    let taken = before.saturating_sub(torch::free_device_memory(device).unwrap().unwrap());
    assert!(taken < 96 << 20, "two images took {taken} bytes of GPU memory");
}

pub fn images_that_do_not_fit_stay_in_host_memory() {
    let _turn = gpu(PLAIN);
    run_ranks("rank_with_little_memory", 1);
}

/// One BatchNorm layer over all ranks, on this rank's shard of `x` in dtype `narrow`. Returns the output, the gradients
/// of input, weight and bias, and the running averages, as float64 on the CPU.
fn batch_norm(world: &World, device: Device, kind: Kind, narrow: Kind, [x, up]: [&Tensor; 2]) -> Vec<Tensor> {
    let channels = x.size()[1];
    let mut builder = LayoutBuilder::new();
    let norm = BatchNorm::new(&mut builder, channels);
    let layout: Arc<StateLayout> = Arc::new(builder.finish());
    let state = State::init(&layout, 1, "test", kind, device).unwrap();
    let values = Tensor::arange(channels, (kind, device)) * 0.25 + 0.5;
    for slot in [norm.weight, norm.bias, norm.running_mean, norm.running_var] {
        state.get(slot).shallow_clone().copy_(&values);
    }
    let [weight, bias] = [norm.weight, norm.bias].map(|slot| state.get(slot).set_requires_grad(true));
    let rows = world.shard(x.size()[0] as usize);
    let shard = |tensor: &Tensor| tensor.narrow(0, rows.start as i64, rows.len() as i64).to_device(device);
    let mine = torch::to_channels_last(&shard(x).to_kind(narrow)).unwrap().set_requires_grad(true);
    let statistics = Statistics::Global { ranks: world, samples: x.size()[0] as usize };
    let y = norm.forward(&Forward::train(&state, statistics), &mine).unwrap();
    assert_eq!(y.kind(), narrow);
    assert!(y.numel() == 0 || torch::is_channels_last(&y));
    let loss = (y.to_kind(kind).tanh() * shard(up).to_kind(kind)).sum(kind);
    let mut made = vec![y.detach()];
    made.extend(Tensor::run_backward(&[&loss], &[&mine, &weight, &bias], false, false));
    made.extend([norm.running_mean, norm.running_var].map(|slot| state.get(slot).shallow_clone()));
    made.iter().map(|tensor| tensor.to_device(Device::Cpu).to_kind(Kind::Double)).collect()
}

/// Compares with the same layer on host memory, where float64 statistics travel over MPI.
pub fn rank_batch_norm() {
    rank_folder();
    let (world, device) = join();
    let names = ["output", "gradient of x", "gradient of weight", "gradient of bias", "running_mean", "running_var"];
    // The last two batches leave ranks without samples. The last one has a single value per channel over all ranks.
    for size in [[9, 16, 5, 5], [8, 3, 1, 1], [2, 64, 4, 4], [1, 8, 3, 3], [1, 8, 1, 1]] {
        tch::manual_seed(11);
        let random = || Tensor::randn(size, (Kind::Double, Device::Cpu));
        let (x, up) = (random() * 2.0 + 0.5, random());
        let wanted = batch_norm(&world, Device::Cpu, Kind::Double, Kind::Double, [&x, &up]);
        for (kind, narrow, tolerance) in
            [(Kind::Double, Kind::Double, 1e-11), (Kind::Float, Kind::Float, 1e-4), (Kind::Float, Kind::BFloat16, 0.05)]
        {
            let found = batch_norm(&world, device, kind, narrow, [&x, &up]);
            for (name, (found, wanted)) in names.iter().zip(found.iter().zip(&wanted)) {
                assert_eq!(found.size(), wanted.size(), "{name}");
                if wanted.numel() > 0 {
                    let scale = wanted.abs().max().double_value(&[]).max(1.0);
                    let apart = (found - wanted).abs().max().double_value(&[]) / scale;
                    assert!(apart <= tolerance, "{name} of {size:?} in {narrow:?}: {apart:e} apart");
                }
            }
        }
    }
    world.barrier().unwrap();
}

pub fn batch_norm_over_ranks_matches_the_cpu() {
    let _turn = gpu(PLAIN);
    for n in [2, 4] {
        run_ranks("rank_batch_norm", n);
    }
}
