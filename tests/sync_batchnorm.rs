//! BatchNorm over ranks compared with BatchNorm of one process on the joined batch, and gradients that are all-reduced
//! while the backward pass runs. All tests are in float64, on 1 to 4 ranks, with uneven and empty shards, and check the
//! order of collectives.

mod as_ranks;
mod mpirun;

use std::cell::Cell;
use std::sync::Arc;
use std::time::Duration;

use as_ranks::{rank_folder, run_as_ranks};
use mpirun::said;
use regun::config::schema::{ModelConfig, OptimConfig, OptimName};
use regun::config::{Request, load};
use regun::data::device_images::DeviceImages;
use regun::data::split::SplitIndices;
use regun::data::{DeviceDataset, Part};
use regun::distributed::{World, launch, process};
use regun::error::{Error, ErrorKind, Result};
use regun::models::batch_norm::BatchNorm;
use regun::models::layout::{LayoutBuilder, StateLayout, TensorRole};
use regun::models::{Architecture, Forward, Model, State, Statistics, build};
use regun::optim::{FlatParams, WeightDecayGroups};
use regun::torch;
use regun::train::gradient_all_reduce::GradientAllReduce;
use regun::train::loss::cross_entropy_sum;
use regun::train::supervised::Supervised;
use regun::train::{EpochReport, Method, Observer, Phase, StepReport, TrainSettings, Trainer};
use regun::unlearn;
use tch::{Device, Kind, Tensor, no_grad};

/// Time that a rank waits for the others. All ranks are on one machine.
const TIMEOUT: Duration = Duration::from_secs(60);

/// Batch sizes. With 1 to 4 ranks they give even, uneven and empty shards.
const BATCHES: [i64; 5] = [8, 5, 3, 2, 1];

/// Joins the ranks, with checks of the order of collectives. A failed assertion ends all ranks.
fn join() -> World {
    process::end_on_panic();
    let world = launch::start().unwrap();
    world.configure(TIMEOUT, true);
    tch::set_num_threads(1);
    world
}

/// Runs this program's test `name` on 1 to 4 ranks.
fn on_ranks(name: &str) {
    for n in 1..=4 {
        let folder = tempfile::tempdir().unwrap();
        let output = run_as_ranks(name, n, folder.path());
        assert!(output.status.success(), "{n} ranks: {}", said(&output));
    }
}

#[track_caller]
fn close(what: &str, got: &Tensor, wanted: &Tensor, tolerance: f64) {
    assert_eq!(got.size(), wanted.size(), "{what}");
    if got.numel() == 0 {
        return;
    }
    let scale = wanted.abs().max().double_value(&[]).max(1.0);
    let distance = (got - wanted).abs().max().double_value(&[]) / scale;
    assert!(distance <= tolerance, "{what}: {distance:e} apart");
    WORST.set(WORST.get().max(distance / tolerance));
}

thread_local! {
    static WORST: Cell<f64> = const { Cell::new(0.0) };
}

/// This rank's shard of the rows.
fn share(world: &World, tensor: &Tensor) -> Tensor {
    let rows = world.shard(tensor.size()[0] as usize);
    tensor.narrow(0, rows.start as i64, rows.len() as i64)
}

fn summed(world: &World, tensor: &Tensor) -> Tensor {
    let mut sum = tensor.copy();
    world.all_reduce(&mut sum).unwrap();
    sum
}

/// A single BatchNorm with parameters and running statistics that are not trivial.
fn norm(channels: i64) -> (BatchNorm, State) {
    let mut builder = LayoutBuilder::new();
    let norm = BatchNorm::new(&mut builder, channels);
    let layout: Arc<StateLayout> = Arc::new(builder.finish());
    let state = State::init(&layout, 1, "test", Kind::Double, Device::Cpu).unwrap();
    for (i, tensor) in state.tensors().iter().take(4).enumerate() {
        let values = Tensor::arange(channels, (Kind::Double, Device::Cpu)) * 0.25 + 0.5 + i as f64;
        tensor.shallow_clone().copy_(&values);
    }
    for slot in [norm.weight, norm.bias] {
        let _ = state.get(slot).set_requires_grad(true);
    }
    (norm, state)
}

/// Results of a pass through BatchNorm and of its derivatives.
struct Outcome {
    /// Values per sample: output, first and second derivative with respect to the input.
    rows: Vec<(&'static str, Tensor)>,
    /// First and second derivatives with respect to the parameters, and buffers.
    others: Vec<(&'static str, Tensor)>,
}

/// `total` adds the gradients of a parameter over all ranks.
fn outcome(
    statistics: Statistics<'_>,
    x: &Tensor,
    weights: [&Tensor; 2],
    twice: bool,
    total: impl Fn(&Tensor) -> Tensor,
) -> Outcome {
    let (norm, state) = norm(x.size()[1]);
    let x = x.copy().set_requires_grad(true);
    let mut context = Forward::train(&state, statistics);
    if twice {
        context = context.twice_differentiable();
    }
    let y = norm.forward(&context, &x).unwrap();
    context.count_batches().unwrap();
    let [gamma, beta] = [norm.weight, norm.bias].map(|slot| state.get(slot));
    let leaves = [&x, gamma, beta];
    // A loss with derivatives that are not simple, then a product with its own gradient.
    let loss = (y.tanh() * weights[0]).sum(Kind::Double);
    let first = Tensor::run_backward(&[&loss], &leaves, twice, twice);
    let buffer = |slot| state.get(slot).to_kind(Kind::Double);
    let mut outcome = Outcome {
        rows: vec![("output", y.detach()), ("first derivative by x", first[0].detach())],
        others: vec![
            ("first derivative by weight", total(&first[1].detach())),
            ("first derivative by bias", total(&first[2].detach())),
            ("running_mean", buffer(norm.running_mean)),
            ("running_var", buffer(norm.running_var)),
            ("num_batches_tracked", buffer(norm.num_batches_tracked)),
        ],
    };
    if twice {
        let along = (&first[0] * weights[1]).square().sum(Kind::Double) + (&y * weights[1]).sum(Kind::Double);
        let second = Tensor::run_backward(&[&along], &leaves, false, false);
        outcome.rows.push(("second derivative by x", second[0].shallow_clone()));
        outcome.others.push(("second derivative by weight", total(&second[1])));
        outcome.others.push(("second derivative by bias", total(&second[2])));
    }
    outcome
}

#[test]
#[ignore = "one rank of another test"]
fn rank_derivatives() {
    rank_folder();
    let world = join();
    for (number, batch) in BATCHES.into_iter().enumerate() {
        // The second shape has one value per channel if the batch is 1.
        for size in [[3, 4, 2], [5, 1, 1], [2, 3, 3]] {
            let mean = if number == 0 { 1e3 } else { 0.5 };
            for twice in [false, true] {
                check_derivatives(&world, &[batch, size[0], size[1], size[2]], mean, twice);
            }
        }
    }
    println!("derivatives on {} ranks: at most {:.1e} of the tolerance apart", world.size(), WORST.get());
    world.barrier().unwrap();
}

fn check_derivatives(world: &World, size: &[i64], mean: f64, twice: bool) {
    tch::manual_seed(7);
    let random = || Tensor::randn(size, (Kind::Double, Device::Cpu));
    let (x, a, b) = (torch::to_channels_last(&(random() * 2.0 + mean)).unwrap(), random(), random());
    let wanted = outcome(Statistics::Batch, &x, [&a, &b], twice, Tensor::copy);
    let [x, a, b] = [&x, &a, &b].map(|tensor| share(world, tensor));
    let found =
        outcome(Statistics::Global { ranks: world, samples: size[0] as usize }, &x, [&a, &b], twice, |tensor| {
            summed(world, tensor)
        });
    let what = |name: &str| format!("{name} of a batch {size:?} around {mean} on {} ranks", world.size());
    // Larger numbers have fewer digits after the decimal point.
    let tolerance = 1e-12 * mean.max(1.0);
    for ((name, found), (_, wanted)) in found.rows.iter().zip(&wanted.rows) {
        close(&what(name), found, &share(world, wanted), tolerance);
    }
    for ((name, found), (_, wanted)) in found.others.iter().zip(&wanted.others) {
        close(&what(name), found, wanted, tolerance);
    }
}

#[test]
fn batch_norm_over_ranks_is_that_of_the_joined_batch() {
    on_ranks("rank_derivatives");
}

fn resnet20() -> Box<dyn Architecture> {
    let config = ModelConfig::plain("resnet20", 10);
    build(&config).unwrap()
}

fn optim() -> OptimConfig {
    OptimConfig {
        name: OptimName::Sgd,
        lr: Some(0.1),
        weight_decay: Some(0.0),
        momentum: None,
        nesterov: None,
        betas: None,
        exclude_wd_norm_bias: None,
    }
}

/// Small buckets, so there are many.
const BUCKET_BYTES: usize = 100_000;

/// A network with flat gradient buffers.
struct Network {
    architecture: Box<dyn Architecture>,
    state: State,
    params: FlatParams,
}

impl Network {
    /// With `frozen` only the head learns.
    fn new(frozen: bool) -> Self {
        let architecture = resnet20();
        let mut state = State::init(architecture.layout(), 3, "test", Kind::Double, Device::Cpu).unwrap();
        let head = architecture.head().to_vec();
        let trainable = |slot| !frozen || head.contains(&slot);
        let params =
            FlatParams::new(&mut state, WeightDecayGroups::new(&optim(), false), BUCKET_BYTES, trainable).unwrap();
        Network { architecture, state, params }
    }

    fn logits(&self, images: &Tensor, statistics: Statistics<'_>) -> Result<Tensor> {
        self.architecture.forward(&mut Forward::train(&self.state, statistics), images)
    }

    /// A loss like ReGUn's: two passes with gradient, and one without gradient between them.
    fn loss(&self, images: &Tensor, labels: &Tensor, statistics: Statistics<'_>) -> Result<Tensor> {
        let first = self.logits(images, statistics)?;
        let target = no_grad(|| self.logits(images, statistics))?;
        let second = self.logits(&(images * 0.5), statistics)?;
        let pull = ((&first - target * 0.5).square()).sum(Kind::Double) * 0.1;
        Ok(cross_entropy_sum(&first, labels, 0.0) * -0.3 + cross_entropy_sum(&second, labels, 0.0) + pull)
    }

    fn grads(&self) -> Tensor {
        Tensor::cat(&self.params.groups().iter().map(|group| group.grads.shallow_clone()).collect::<Vec<_>>(), 0)
    }
}

#[test]
#[ignore = "one rank of another test"]
fn rank_gradients() {
    rank_folder();
    let world = join();
    for (batch, frozen) in [(3, false), (2, true)] {
        tch::manual_seed(5);
        let images = Tensor::randn([batch, 3, 8, 8], (Kind::Double, Device::Cpu));
        let labels = Tensor::randint(10, [batch], (Kind::Int64, Device::Cpu));
        let mut alone = Network::new(frozen);
        alone.loss(&images, &labels, Statistics::Batch).unwrap().backward();
        alone.params.accumulate().unwrap();

        let (images, labels) = (share(&world, &images), share(&world, &labels));
        let (mut network, statistics) =
            (Network::new(frozen), Statistics::Global { ranks: &world, samples: batch as usize });
        let loss = |network: &Network| network.loss(&images, &labels, statistics).unwrap();
        let all_reduce = GradientAllReduce::new(&world, &network.params, &network.state, None).unwrap();
        assert_eq!(all_reduce.is_none(), world.size() == 1);
        let Some(all_reduce) = all_reduce else { continue };

        // One optimizer step in three ways: a single pass, two micro-steps, and passes that the method makes itself.
        let what = |how: &str| format!("{how}: batch of {batch} on {} ranks", world.size());
        all_reduce.begin_micro_step(true);
        all_reduce.backward(&loss(&network)).unwrap();
        close(&what("one pass"), &network.grads(), &alone.grads(), 1e-10);
        all_reduce.finish().unwrap();
        close(&what("nothing is left to do"), &network.grads(), &alone.grads(), 1e-10);
        assert!(all_reduce.backward(&images).unwrap_err().message().contains("after the all-reduce"));

        network.params.zero_grad().unwrap();
        for last in [false, true] {
            all_reduce.begin_micro_step(last);
            all_reduce.backward(&loss(&network)).unwrap();
        }
        all_reduce.finish().unwrap();
        close(&what("two micro-steps"), &network.grads(), &(alone.grads() * 2.0), 1e-10);

        network.params.zero_grad().unwrap();
        all_reduce.begin_micro_step(true);
        for _ in 0..2 {
            loss(&network).backward();
        }
        all_reduce.finish().unwrap();
        close(&what("passes of its own"), &network.grads(), &(alone.grads() * 2.0), 1e-10);

        // All ranks hold the same bits.
        let gradients = ("gradients".to_owned(), bits(&network.grads()));
        world.agree(|| digests(&network.state, TensorRole::Buffer).chain([gradients]).collect()).unwrap();
    }
    println!("gradients on {} ranks: at most {:.1e} of the tolerance apart", world.size(), WORST.get());
    world.barrier().unwrap();
}

/// Name and digest of each tensor of a role.
fn digests(state: &State, role: TensorRole) -> impl Iterator<Item = (String, String)> {
    let named = state.layout().specs().iter().zip(state.tensors());
    named.filter(move |(entry, _)| entry.role == role).map(|(entry, tensor)| (entry.name.clone(), bits(tensor)))
}

/// A digest of the exact bits.
fn bits(tensor: &Tensor) -> String {
    let values = Vec::<f64>::try_from(tensor.to_kind(Kind::Double).reshape(-1)).unwrap();
    format!("{:x}", values.iter().map(|x| x.to_bits()).fold(0, mix))
}

fn mix(hash: u64, bits: u64) -> u64 {
    (hash ^ bits).wrapping_mul(0x9E37_79B9_7F4A_7C15).rotate_left(29)
}

#[test]
fn gradients_reduced_during_backward_are_those_of_the_joined_batch() {
    on_ranks("rank_gradients");
}

#[test]
#[ignore = "one rank of another test"]
fn rank_overlap() {
    rank_folder();
    let world = join();
    let network = Network::new(false);
    if let Some(all_reduce) = GradientAllReduce::new(&world, &network.params, &network.state, None).unwrap() {
        let buckets = network.params.layout().buckets().len();
        assert!(buckets > 4, "{buckets} buckets");
        let images = Tensor::randn([2, 3, 16, 16], (Kind::Double, Device::Cpu));
        let before = world.traffic().collectives;
        // The gradient of the images comes last. If the pass fails there, all buckets have been reduced.
        let failing = {
            let world = world.clone();
            torch::symmetric_map(&images.copy().set_requires_grad(true), move |_| {
                match world.traffic().collectives - before {
                    0 => Ok(()),
                    reduced => Err(Error::new(ErrorKind::Peer, format!("{reduced} reduced"))),
                }
            })
            .unwrap()
        };
        all_reduce.begin_micro_step(true);
        let loss = network.logits(&failing, Statistics::Batch).unwrap().square().sum(Kind::Double);
        let error = all_reduce.backward(&loss).unwrap_err();
        let wanted = (ErrorKind::Peer, format!("{buckets} reduced"));
        assert_eq!((error.kind(), error.message().to_owned()), wanted);
    }
    world.barrier().unwrap();
}

#[test]
fn buckets_are_reduced_during_the_backward_pass_which_returns_its_errors() {
    on_ranks("rank_overlap");
}

/// Checks training without synchronised BatchNorm: the ranks' statistics differ within an epoch and agree when it is
/// evaluated. Their parameters never differ.
struct LocalStatistics<'a> {
    world: &'a World,
    forwards_per_epoch: i64,
    epochs: usize,
}

impl Observer for LocalStatistics<'_> {
    fn step(&mut self, report: &StepReport<'_>) -> Result<()> {
        let differ = self.world.agree(|| digests(&report.model.state, TensorRole::Buffer).collect()).is_err();
        assert_eq!(differ, self.world.size() > 1);
        self.world.agree(|| digests(&report.model.state, TensorRole::Parameter).collect())
    }

    fn epoch(&mut self, report: &EpochReport<'_>) -> Result<()> {
        let tracked = report.model.state.by_name("bn1.num_batches_tracked").unwrap().int64_value(&[]);
        assert_eq!(tracked, self.forwards_per_epoch * (report.epoch as i64 + 1));
        self.epochs += 1;
        self.world.agree(|| digests(&report.model.state, TensorRole::Buffer).collect())
    }
}

#[test]
#[ignore = "one rank of another test"]
fn rank_local_statistics() {
    rank_folder();
    let world = join();
    tch::manual_seed(11);
    // Retain and forget have two batches each, of five samples and of one. Most ranks have an empty shard of the
    // second.
    let images = Tensor::randn([12, 3, 16, 16], (Kind::Double, Device::Cpu));
    let data = || DeviceImages::new(images.copy(), (0..12).map(|i| i % 6).collect());
    let parts = SplitIndices { retain: (0..6).collect(), forget: (6..12).collect(), ..SplitIndices::default() };
    let dataset = DeviceDataset::prepared(data(), data(), parts, 10, 4);
    let phase = Phase { name: "train", epochs: 2, optim: optim(), scheduler: None, named_parameters: false };
    let supervised: Box<dyn Method> = Box::new(Supervised { part: Part::Retain, label_smoothing: 0.0, phase });
    // LUR takes second derivatives and makes two forward passes in a step.
    let lur = ["unlearn=lur", "unlearn.pruning.enabled=false", "unlearn.trainer.max_epochs=2"];
    for (method, forwards_per_epoch) in [(Some(supervised), 2), (None, 4)] {
        let setup = ["data=digits", "model=resnet20", "data.batch_size=5", "trainer.sync_batchnorm=false"];
        let overrides: Vec<String> = setup.iter().chain(&lur).map(|text| text.to_string()).collect();
        let config = load(&Request { overrides: &overrides, ..Request::default() }).unwrap().config;
        let mut method = method.unwrap_or_else(|| unlearn::build(config.unlearn.as_ref().unwrap()).unwrap());
        let mut model = Model::initialise(&resnet20().into(), 3, "test", Kind::Double, Device::Cpu).unwrap();
        let settings = TrainSettings::new(&config, &world, "test", 1);
        let mut observer = LocalStatistics { world: &world, forwards_per_epoch, epochs: 0 };
        Trainer { world: &world, dataset: &dataset, model: &mut model, settings }
            .run(&mut *method, &mut observer)
            .unwrap();
        assert_eq!(observer.epochs, 2);
    }
    world.barrier().unwrap();
}

#[test]
fn without_synchronisation_all_ranks_evaluate_rank_0s_statistics() {
    on_ranks("rank_local_statistics");
}
