//! Mixed precision through the real training loop, on the CPU. The configuration allows it on GPUs only, so the tests
//! put it into the training settings directly. bfloat16 autocast is real here. The loss scale is tested on float64,
//! where a power of two changes no bit.

mod as_ranks;
mod mpirun;
mod training;

use as_ranks::{rank_folder, run_as_ranks};
use mpirun::said;
use regun::config::{Config, Request, load};
use regun::data::{DeviceDataset, LoadOptions, load_dataset, split};
use regun::distributed::{World, launch, process};
use regun::error::{ErrorKind, Result};
use regun::models::{Model, build};
use regun::optim::FlatParams;
use regun::torch::Autocast;
use regun::train::mixed::LossScale;
use regun::train::{Drawn, EpochReport, Method, Mixed, Observer, Pass, Phase, Step, Term, TrainSettings, Trainer};
use tch::{Device, Kind, Tensor};
use training::method;

/// An epoch has 6 batches. The learning rate is low because training amplifies rounding differences.
const SETUP: &str = "data=digits model=resnet20 data.debug_subset_size=160 data.batch_size=24 split.heldout_frac=0.1 \
    split.forget_frac=0.3 split.retain_frac=0.55 split.validation_frac=0.15 model.optim.lr=0.005 trainer.max_epochs=2";

fn configure(variant: &str) -> Config {
    let overrides: Vec<String> = SETUP.split_whitespace().chain(variant.split_whitespace()).map(String::from).collect();
    load(&Request { overrides: &overrides, ..Request::default() }).unwrap().config
}

/// A loss scale with products in float32, so that only the scale can make a difference.
fn scaled(initial: f64, interval: i64) -> Mixed {
    let autocast = Autocast { cuda: false, dtype: Kind::Float };
    Mixed { autocast, loss_scale: Some(LossScale { initial, interval, ..LossScale::default() }) }
}

const BFLOAT16: Mixed = Mixed { autocast: Autocast { cuda: false, dtype: Kind::BFloat16 }, loss_scale: None };

struct Losses(Vec<f64>);

impl Observer for Losses {
    fn epoch(&mut self, report: &EpochReport<'_>) -> Result<()> {
        self.0.push(report.means.loss);
        Ok(())
    }
}

/// Trains, and returns the losses of the epochs and all tensors of the model.
fn train(
    world: &World,
    config: &Config,
    kind: Kind,
    mixed: Option<Mixed>,
    method: &mut dyn Method,
) -> Result<(Vec<f64>, Vec<Tensor>)> {
    train_weights_times(1.0, world, config, kind, mixed, method)
}

/// Like `train`, from initial convolution weights that are multiplied by `factor`.
fn train_weights_times(
    factor: f64,
    world: &World,
    config: &Config,
    kind: Kind,
    mixed: Option<Mixed>,
    method: &mut dyn Method,
) -> Result<(Vec<f64>, Vec<Tensor>)> {
    let dataset = load_dataset(&config.data, LoadOptions { cache_dir: &config.paths.cache_dir, threads: 1 }).unwrap();
    let parts = split::split(&dataset.train.labels, &config.split).unwrap();
    let dataset = DeviceDataset::new(&dataset, parts, &config.data, kind, Device::Cpu).unwrap();
    let architecture = build(&config.model.model).unwrap().into();
    let mut model = Model::initialise(&architecture, 3, "base", kind, Device::Cpu).unwrap();
    for (.., weight) in model.state.parameters().filter(|(.., weight)| weight.dim() == 4) {
        let _ = weight.shallow_clone().f_mul_scalar_(factor)?;
    }
    let settings = TrainSettings { names: None, mixed, ..TrainSettings::new(config, world, "test", 3) };
    let mut losses = Losses(Vec::new());
    Trainer { world, dataset: &dataset, model: &mut model, settings }.run(method, &mut losses)?;
    Ok((losses.0, model.state.tensors().iter().map(Tensor::copy).collect()))
}

fn distance(a: &[Tensor], b: &[Tensor]) -> f64 {
    let wide = |tensor: &Tensor| tensor.to_kind(Kind::Double);
    a.iter().zip(b).map(|(a, b)| (wide(a) - wide(b)).abs().max().double_value(&[])).fold(0.0, f64::max)
}

#[test]
fn a_loss_scale_changes_no_bit_while_all_gradients_are_finite() {
    for variant in [
        "trainer.accumulate_grad_batches=2 trainer.gradient_clip_val=0.5",
        "unlearn=lur unlearn.pruning.enabled=false unlearn.trainer.max_epochs=2",
    ] {
        let config = configure(variant);
        let run = |mixed| train(&World::solo(), &config, Kind::Double, mixed, &mut *method(&config, None)).unwrap();
        let (losses, weights) = run(None);
        // The scale grows after every two steps.
        let (same, scaled) = run(Some(scaled(65536.0, 2)));
        assert_eq!(losses, same, "{variant}");
        assert_eq!(distance(&weights, &scaled), 0.0, "{variant}");
    }
}

#[test]
fn bfloat16_training_follows_float32() {
    let config = configure("");
    let run = |mixed| train(&World::solo(), &config, Kind::Float, mixed, &mut *method(&config, None)).unwrap();
    let ((plain, weights), (narrow, narrow_weights)) = (run(None), run(Some(BFLOAT16)));
    assert!(narrow_weights.iter().all(|tensor| [Kind::Float, Kind::Int64].contains(&tensor.kind())));
    // The products must be narrow, or the test compares float32 with itself.
    assert!(distance(&weights, &narrow_weights) > 1e-5);
    for (plain, narrow) in plain.iter().zip(&narrow) {
        assert!((plain - narrow).abs() < 0.05 * plain, "{plain} in float32, {narrow} in bfloat16");
    }
}

/// Wraps a method, makes its loss infinite in one step on one rank, and keeps the loss scales and weights.
struct Spoiled {
    method: Box<dyn Method>,
    /// Index of the step whose loss is infinite.
    step: u64,
    /// The rank whose loss is infinite.
    rank: usize,
    /// For each step, the loss scale in it and the first weight after it.
    seen: Vec<(f64, f64)>,
}

impl Method for Spoiled {
    fn phases(&self) -> Vec<Phase> {
        self.method.phases()
    }

    fn passes(&self, phase: usize, epoch: usize) -> Vec<Pass> {
        self.method.passes(phase, epoch)
    }

    fn draw(&mut self, step: &Step<'_>) -> Result<Drawn> {
        self.method.draw(step)
    }

    fn losses(&mut self, step: &Step<'_>) -> Result<Vec<Term>> {
        let mut terms = self.method.losses(step)?;
        if step.index == self.step && step.world.rank() == self.rank {
            terms[0].sum = &terms[0].sum * f64::INFINITY;
        }
        self.seen.push((step.scaled(&Tensor::from(1.0)).unwrap().double_value(&[]), f64::NAN));
        Ok(terms)
    }

    fn after_step(&mut self, params: &mut FlatParams) -> Result<()> {
        if let Some((_, weight)) = self.seen.last_mut() {
            *weight = params.groups()[0].values.double_value(&[0]);
        }
        Ok(())
    }
}

fn spoiled(config: &Config, step: u64, rank: usize) -> Spoiled {
    Spoiled { method: method(config, None), step, rank, seen: Vec::new() }
}

/// The skipped step leaves weights and momentum alone, so the next step is the one that would have come without it.
#[test]
fn a_step_with_an_infinite_loss_changes_nothing() {
    for optim in ["model.optim.name=sgd", "model.optim.name=adamw"] {
        let config = configure(optim);
        let mut spoiled = spoiled(&config, 3, 0);
        train(&World::solo(), &config, Kind::Double, Some(scaled(8.0, 4)), &mut spoiled).unwrap();
        let scales: Vec<f64> = spoiled.seen.iter().map(|(scale, _)| *scale).collect();
        assert_eq!(scales, [8.0, 8.0, 8.0, 8.0, 4.0, 4.0, 4.0, 4.0, 8.0, 8.0, 8.0, 8.0], "{optim}");
        let weights: Vec<f64> = spoiled.seen.iter().map(|(_, weight)| *weight).collect();
        let moved: Vec<bool> = weights.windows(2).map(|pair| pair[0] != pair[1]).collect();
        let left_out: Vec<usize> = (1..12).filter(|step| !moved[step - 1]).collect();
        assert_eq!(left_out, [3], "{optim}");
        assert!(weights.iter().all(|weight| weight.is_finite()), "{optim}");
    }
}

/// LUR's second pass runs on weights that the first gradient has moved. A first gradient that overflowed must not spoil
/// the running averages of BatchNorm, because a skipped step does not restore them.
#[test]
fn an_overflow_in_a_look_ahead_leaves_the_running_averages_finite() {
    let config = configure("unlearn=lur unlearn.pruning.enabled=false unlearn.trainer.max_epochs=4");
    let mut method = method(&config, None);
    // Small weights before a batch normalisation have large gradients. With this scale they overflow float32.
    let (world, too_high) = (World::solo(), scaled(2f64.powi(127), 1000));
    let (losses, tensors) =
        train_weights_times(1e-3, &world, &config, Kind::Float, Some(too_high), &mut *method).unwrap();
    assert!(losses.iter().all(|loss| loss.is_finite()), "{losses:?}");
    for tensor in &tensors {
        assert_eq!(tensor.isfinite().all().int64_value(&[]), 1, "{tensor:?}");
    }
}

/// Without a loss scale, or with a scale of 1, such a step ends the training one step later. The error names the step.
#[test]
fn a_step_with_an_infinite_loss_ends_a_training_that_cannot_lower_its_loss_scale() {
    let config = configure("");
    for mixed in [None, Some(scaled(1.0, 1000))] {
        let mut spoiled = spoiled(&config, 2, 0);
        let error = train(&World::solo(), &config, Kind::Double, mixed, &mut spoiled).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NonFinite);
        assert!(error.message().contains("epoch 1, pass train, step 3"), "{error}");
        let weights: Vec<f64> = spoiled.seen.iter().map(|(_, weight)| *weight).collect();
        assert!(weights.len() == 4 && weights[1] == weights[2] && weights[3].is_finite(), "{weights:?}");
    }
}

#[test]
#[ignore = "one rank of another test"]
fn rank_in_mixed_precision() {
    rank_folder();
    process::end_on_panic();
    let world = launch::start().unwrap();
    tch::set_num_threads(1);
    let config = configure("");

    // The loss is infinite on the last rank alone. All ranks skip the step, and all halve the scale.
    let mut spoiled = spoiled(&config, 3, world.size() - 1);
    let (_, weights) = train(&world, &config, Kind::Double, Some(scaled(8.0, 1000)), &mut spoiled).unwrap();
    world.agree(|| vec![("scales and weights".into(), format!("{:?}", spoiled.seen))]).unwrap();
    assert_eq!((spoiled.seen[3].0, spoiled.seen[4].0), (8.0, 4.0));
    assert_eq!(spoiled.seen[2].1, spoiled.seen[3].1);
    let sums: Vec<f64> = weights.iter().map(|tensor| tensor.sum(Kind::Double).double_value(&[])).collect();
    world.agree(|| vec![("sums of the weights".into(), format!("{sums:?}"))]).unwrap();

    // Statistics over all ranks come from narrow activations, and are close to those of float32.
    let run = |mixed| train(&world, &config, Kind::Float, mixed, &mut *method(&config, None)).unwrap().0;
    for (plain, narrow) in run(None).iter().zip(run(Some(BFLOAT16))) {
        assert!((plain - narrow).abs() < 0.05 * plain, "{plain} in float32, {narrow} in bfloat16");
    }
    world.barrier().unwrap();
}

#[test]
fn ranks_skip_a_step_together_and_share_statistics_of_narrow_activations() {
    let folder = tempfile::tempdir().unwrap();
    let output = run_as_ranks("rank_in_mixed_precision", 2, folder.path());
    assert!(output.status.success(), "{}", said(&output));
}
