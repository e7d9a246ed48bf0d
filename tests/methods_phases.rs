//! NegGrad+, l1-sparse, SCRUB and SalUn: the golden numbers of `fixtures/methods.json`, and the documented properties
//! of each method.

mod formula;
mod formula_network;
mod golden_steps;

use golden_steps::{Golden, Terms, check, dataset, fixtures, indices, phase};
use regun::config::schema::{CompatConfig, Config};
use regun::config::{Request, load};
use regun::data::{DeviceDataset, LoadOptions, Part, load_dataset, split};
use regun::distributed::World;
use regun::error::Result;
use regun::models::{Model, build};
use regun::optim::FlatParams;
use regun::train::loss::cross_entropy_sum;
use regun::train::supervised::Supervised;
use regun::train::{Drawn, Method, Pass, Phase, Step, Term, TrainContext, TrainSettings, Trainer};
use regun::unlearn;
use regun::unlearn::l1sparse::{L1Sparse, L1SparseSettings, PenaltySchedule};
use regun::unlearn::neggradp::NegGradPlus;
use regun::unlearn::salun::{SalUn, SalUnSettings};
use regun::unlearn::scrub::{Scrub, ScrubSettings};
use serde_json::Value;
use tch::{Device, Kind, Tensor, no_grad};

fn number(value: &Value, key: &str) -> f64 {
    value[key].as_f64().unwrap_or_else(|| panic!("no number for {key}"))
}

fn list<'a>(value: &'a Value, key: &str) -> &'a [Value] {
    value[key].as_array().unwrap_or_else(|| panic!("no list for {key}"))
}

/// A method with fewer epochs, and with a closure that gets the gradient of each step.
struct Changed<'a> {
    method: &'a mut dyn Method,
    /// Upper limit of the epochs of each phase.
    epochs: usize,
    /// Runs on the all-reduced gradient, before the method edits it.
    watch: &'a mut dyn FnMut(&FlatParams),
}

impl Method for Changed<'_> {
    fn prepare(&mut self, context: &mut TrainContext<'_>) -> Result<()> {
        self.method.prepare(context)
    }

    fn phases(&self) -> Vec<Phase> {
        self.method.phases().into_iter().map(|phase| Phase { epochs: self.epochs.min(phase.epochs), ..phase }).collect()
    }

    fn passes(&self, phase: usize, epoch: usize) -> Vec<Pass> {
        self.method.passes(phase, epoch)
    }

    fn draw(&mut self, step: &Step<'_>) -> Result<Drawn> {
        self.method.draw(step)
    }

    fn losses(&mut self, step: &Step<'_>) -> Result<Vec<Term>> {
        self.method.losses(step)
    }

    fn after_backward(&mut self, params: &mut FlatParams) -> Result<()> {
        (self.watch)(params);
        self.method.after_backward(params)
    }

    fn after_step(&mut self, params: &mut FlatParams) -> Result<()> {
        self.method.after_step(params)
    }
}

#[test]
fn joint_neggradp_steps_match_the_fixture() {
    let fixtures = fixtures();
    for run in list(&fixtures["neggradp"], "joint") {
        let (retain_weight, forget_weight) = (number(run, "retain_weight"), number(run, "forget_weight"));
        let mut method = NegGradPlus::joint(phase(2), retain_weight, forget_weight);
        let terms = [("forget_ce", "forget_ce"), ("retain_ce", "retain_ce")];
        let what = format!("neggradp, retain weight {retain_weight}");
        check(&what, &mut method, &dataset(&fixtures, &[]), &run["steps"], &terms);
    }
}

#[test]
fn sequential_neggradp_steps_match_the_fixture() {
    let fixtures = fixtures();
    let run = &fixtures["neggradp"]["sequential"];
    let epochs = |key: &str| phase(number(run, key) as usize);
    let mut method = NegGradPlus::sequential(epochs("forget_epochs"), epochs("retain_epochs"));
    check("neggradp, sequential", &mut method, &dataset(&fixtures, &[]), &run["steps"], &[]);
}

fn penalty_schedule(name: &str) -> PenaltySchedule {
    match name {
        "constant" => PenaltySchedule::Constant,
        "linear_grow" => PenaltySchedule::LinearGrow,
        "linear_decay" => PenaltySchedule::LinearDecay,
        other => panic!("schedule {other}"),
    }
}

#[test]
fn l1sparse_steps_match_the_fixture() {
    let fixtures = fixtures();
    let gamma = number(&fixtures["l1sparse"], "gamma");
    for run in list(&fixtures["l1sparse"], "runs") {
        let name = run["schedule"].as_str().unwrap();
        let settings = L1SparseSettings { gamma, schedule: penalty_schedule(name) };
        let mut method = L1Sparse { settings, phase: phase(number(run, "max_epochs") as usize) };
        let steps = list(run, "steps").len();
        let mut first_steps = Changed { method: &mut method, epochs: steps, watch: &mut |_| () };
        let terms = [("ce", "ce"), ("l1_norm", "l1_penalty")];
        check(&format!("l1sparse, {name}"), &mut first_steps, &dataset(&fixtures, &[]), &run["steps"], &terms);
    }
}

#[test]
fn l1sparse_penalty_weights_match_the_fixture_in_every_epoch() {
    let fixtures = fixtures();
    let gamma = number(&fixtures["l1sparse"], "gamma");
    let schedules = fixtures["l1sparse"]["gamma_per_epoch"].as_object().unwrap();
    assert_eq!(schedules.len(), 12);
    for (name, wanted) in schedules {
        let (schedule, epochs) = name.split_once("/max_epochs=").unwrap();
        let settings = L1SparseSettings { gamma, schedule: penalty_schedule(schedule) };
        for (epoch, wanted) in wanted.as_array().unwrap().iter().map(|gamma| gamma.as_f64().unwrap()).enumerate() {
            let got = settings.weight(epoch, epochs.parse().unwrap());
            // The tolerance is relative, so a wanted 0 must be met exactly.
            assert!((got - wanted).abs() <= 1e-15 * wanted, "{name}, epoch {epoch}: {got}, wanted {wanted}");
        }
    }
}

/// The loss terms of a SCRUB step. Only some runs list the cross entropy.
fn scrub_terms(step: &Value) -> &'static [(&'static str, &'static str)] {
    match step["phase"].as_str() {
        Some("forget") => &[("forget_kl", "kl")],
        _ if step.get("ce").is_some() => &[("retain_kl", "kl"), ("retain_ce", "ce")],
        _ => &[("retain_kl", "kl")],
    }
}

fn scrub_run(fixtures: &Value, run: usize, compat: CompatConfig) {
    let block = &fixtures["scrub"];
    let settings = ScrubSettings {
        alpha: number(block, "alpha"),
        gamma: number(block, "gamma"),
        temperature: number(block, "temperature"),
    };
    let run = &list(block, "runs")[run];
    let evaluate_each_epoch = run["evaluate_each_epoch"].as_bool().unwrap();
    let mut method = Scrub::new(settings, phase(number(run, "max_epochs") as usize), evaluate_each_epoch);
    let what = format!("scrub, evaluate_each_epoch={evaluate_each_epoch}, {compat:?}");
    let (dataset, steps) = (dataset(fixtures, &[]), &run["steps"]);
    let terms: Terms = &|step| scrub_terms(step);
    Golden { what: &what, dataset: &dataset, steps, terms, norm_tolerance: 1e-8, compat }.check(&mut method);
}

#[test]
fn scrub_steps_match_the_fixture() {
    scrub_run(&fixtures(), 0, CompatConfig { scrub_teacher_mode: false });
}

/// If a run evaluates after each epoch, the Python program's teacher is in training mode from the second epoch on.
#[test]
fn scrub_steps_with_the_teacher_in_training_mode_match_the_fixture() {
    let fixtures = fixtures();
    scrub_run(&fixtures, 1, CompatConfig { scrub_teacher_mode: true });
    // Without evaluations `scrub_teacher_mode` changes nothing.
    scrub_run(&fixtures, 0, CompatConfig { scrub_teacher_mode: true });
}

#[test]
fn scrub_forgets_in_the_listed_epochs() {
    let fixtures = fixtures();
    let settings = ScrubSettings { alpha: 0.5, gamma: 1.0, temperature: 4.0 };
    for (epochs, wanted) in fixtures["scrub"]["forget_epochs"].as_object().unwrap() {
        let epochs = epochs.parse().unwrap();
        let method = Scrub::new(settings, phase(epochs), true);
        let passes = |epoch| -> Vec<&str> { method.passes(0, epoch).iter().map(|pass| pass.name).collect() };
        for epoch in 0..epochs {
            let forgets = indices(wanted).contains(&epoch);
            assert_eq!(passes(epoch), if forgets { vec!["forget", "retain"] } else { vec!["retain"] });
        }
    }
}

/// SalUn with the labels listed in the fixture instead of random ones.
struct Relabelled<'a> {
    salun: &'a mut SalUn,
    labels: Vec<Vec<usize>>,
}

impl Method for Relabelled<'_> {
    fn prepare(&mut self, context: &mut TrainContext<'_>) -> Result<()> {
        self.salun.prepare(context)
    }

    fn phases(&self) -> Vec<Phase> {
        self.salun.phases()
    }

    fn passes(&self, phase: usize, epoch: usize) -> Vec<Pass> {
        self.salun.passes(phase, epoch)
    }

    fn losses(&mut self, step: &Step<'_>) -> Result<Vec<Term>> {
        let images = &step.batch("forget")?.global;
        let labels: Vec<i64> = images.iter().map(|&image| self.labels[step.epoch][image] as i64).collect();
        self.salun.losses_with_labels(step, &Tensor::from_slice(&labels))
    }

    fn after_backward(&mut self, params: &mut FlatParams) -> Result<()> {
        self.salun.after_backward(params)
    }

    fn after_step(&mut self, params: &mut FlatParams) -> Result<()> {
        self.salun.after_step(params)
    }
}

#[test]
fn salun_steps_and_mask_match_the_fixture() {
    let fixtures = fixtures();
    let block = &fixtures["salun"];
    let labels: Vec<Vec<usize>> = list(block, "random_labels_per_step").iter().map(indices).collect();
    for run in list(block, "runs") {
        let saliency_keep_ratio = number(run, "saliency_keep_ratio");
        let settings = SalUnSettings {
            retain_weight: number(run, "retain_weight"),
            forget_weight: number(run, "forget_weight"),
            saliency_keep_ratio,
        };
        let mut salun = SalUn::new(settings, phase(labels.len()));
        let mut relabelled = Relabelled { salun: &mut salun, labels: labels.clone() };
        let mut norms = Vec::new();
        let watch = &mut |params: &FlatParams| norms.push(params.grad_norm().unwrap().double_value(&[]));
        let mut method = Changed { method: &mut relabelled, epochs: labels.len(), watch };
        let what = format!("salun, keep ratio {saliency_keep_ratio}");
        let (dataset, steps) = (dataset(&fixtures, &[]), &run["steps"]);
        let terms: Terms = &|_| &[("forget_wrong_ce", "forget_random_label_ce"), ("retain_ce", "retain_ce")];
        let compat = CompatConfig { scrub_teacher_mode: false };
        Golden { what: &what, dataset: &dataset, steps, terms, norm_tolerance: 1e-7, compat }.check(&mut method);

        let close = |name: &str, got: f64, wanted: f64| {
            assert!((got / wanted - 1.0).abs() <= 1e-7, "{what}: {name} is {got}, wanted {wanted}");
        };
        for (norm, step) in norms.iter().zip(steps.as_array().unwrap()) {
            close("norm before the mask", *norm, number(step, "grad_norm_before_mask"));
        }
        let mask = salun.mask().unwrap();
        close("threshold", mask.threshold, number(run, "threshold"));
        let layout = golden_steps::architecture();
        let mut total = (0, 0);
        for (slot, kept) in &mask.kept {
            let (count, elements) = (kept.sum(Kind::Int64).int64_value(&[]), kept.numel() as i64);
            total = (total.0 + count, total.1 + elements);
            if let Some(share) = run["kept_fraction_by_tensor"].get(&layout.layout().spec(*slot).name) {
                let wanted = share.as_f64().unwrap() * elements as f64;
                assert!((count as f64 - wanted).abs() <= 2.0, "{what}: keeps {count} of {elements}, wanted {wanted}");
            }
        }
        assert_eq!(total.1 as f64, number(run, "elements"));
        let wanted = number(run, "kept_elements");
        assert!((total.0 as f64 - wanted).abs() <= 2.0, "{what}: {} elements kept, wanted {wanted}", total.0);
    }
}

/// Small real data: 200 digits, with resnet20 in float64.
const SETUP: &str = "data=digits model=resnet20 data.debug_subset_size=200 data.batch_size=16 trainer.precision=64 \
    split.forget_frac=0.3 split.retain_frac=0.6";

fn configure(overrides: &str) -> Config {
    let overrides: Vec<String> =
        SETUP.split_whitespace().chain(overrides.split_whitespace()).map(String::from).collect();
    load(&Request { overrides: &overrides, ..Request::default() }).unwrap().config
}

/// The digits and a model to train on them.
struct Digits {
    config: Config,
    dataset: DeviceDataset,
    model: Model,
}

impl Digits {
    /// Loads the data and initialises an untrained model.
    fn new(overrides: &str) -> Self {
        let config = configure(overrides);
        let dataset =
            load_dataset(&config.data, LoadOptions { cache_dir: &config.paths.cache_dir, threads: 1 }).unwrap();
        let parts = split::split(&dataset.train.labels, &config.split).unwrap();
        let dataset = DeviceDataset::new(&dataset, parts, &config.data, Kind::Double, Device::Cpu).unwrap();
        let architecture = build(&config.model.model).unwrap().into();
        let model = Model::initialise(&architecture, 42, "base", Kind::Double, Device::Cpu).unwrap();
        Digits { config, dataset, model }
    }

    fn run(&mut self, method: &mut dyn Method) {
        let world = World::solo();
        let settings = TrainSettings::new(&self.config, &world, "test", 42);
        let mut trainer = Trainer { world: &world, dataset: &self.dataset, model: &mut self.model, settings };
        trainer.run(method, &mut ()).unwrap();
    }

    /// Trains the model on all training images, so that it becomes a base model.
    fn train(&mut self, epochs: usize) {
        let mut phase = phase(epochs);
        phase.optim.lr = Some(0.05);
        self.run(&mut Supervised { part: Part::Train, label_smoothing: 0.0, phase });
    }

    /// The mean cross entropy on `part` in evaluation mode.
    fn loss(&self, part: Part) -> f64 {
        let (images, labels) = self.dataset.make_batch(part, self.dataset.indices(part), None).unwrap();
        let sum = no_grad(|| cross_entropy_sum(&self.model.eval(&images).unwrap(), &labels, 0.0));
        sum.double_value(&[]) / labels.size()[0] as f64
    }
}

#[test]
fn neggradp_raises_the_forget_loss_and_its_joint_form_lowers_the_retain_loss() {
    let mut base = Digits::new("");
    base.train(10);
    let before = [Part::Forget, Part::Retain].map(|part| base.loss(part));
    assert!(before[0] < 0.5 && before[1] < 0.5, "the base model has not learned: {before:?}");
    let joint = "unlearn=neggradp unlearn.trainer.max_epochs=6 unlearn.optim.lr=0.02";
    let sequential = "unlearn=neggradp unlearn.sequential=true unlearn.neggrad.epochs=3 unlearn.finetune.epochs=1 \
        unlearn.neggrad.optim.lr=0.02 unlearn.finetune.optim.lr=0.002";
    for (overrides, phases) in [(joint, &[("unlearn", 6)][..]), (sequential, &[("neggrad", 3), ("finetune", 1)])] {
        let mut digits = Digits::new(overrides);
        digits.model.state = base.model.state.deep_copy().unwrap();
        let mut method = unlearn::build(digits.config.unlearn.as_ref().unwrap()).unwrap();
        let named: Vec<(&str, usize)> = method.phases().iter().map(|phase| (phase.name, phase.epochs)).collect();
        assert_eq!(named, phases);
        digits.run(method.as_mut());
        let after = [Part::Forget, Part::Retain].map(|part| digits.loss(part));
        assert!(after[0] > 2.0 * before[0], "{named:?}: loss on forget {}, before {}", after[0], before[0]);
        if overrides == joint {
            assert!(after[1] < before[1], "{named:?}: loss on retain {}, before {}", after[1], before[1]);
        }
    }
}

/// The penalty adds `gamma` times the sign of each weight to the gradient of an optimizer step, once for any number of
/// micro-steps.
#[test]
fn the_l1_penalty_counts_once_in_an_optimizer_step() {
    const GAMMA: f64 = 1e-2;
    for accumulate in [1, 3] {
        let gradients = [0.0, GAMMA].map(|gamma| {
            let mut digits = Digits::new(&format!("trainer.accumulate_grad_batches={accumulate}"));
            let settings = L1SparseSettings { gamma, schedule: PenaltySchedule::Constant };
            let mut method = L1Sparse { settings, phase: phase(1) };
            let (mut first, mut weights) = (None, None);
            let watch = &mut |params: &FlatParams| {
                let group = &params.groups()[0];
                first.get_or_insert_with(|| group.grads.copy());
                weights.get_or_insert_with(|| group.values.copy());
            };
            digits.run(&mut Changed { method: &mut method, epochs: 1, watch });
            (first.unwrap(), weights.unwrap())
        });
        let [(without, _), (with, weights)] = &gradients;
        let error = (with - without - GAMMA * weights.sign()).abs().max().double_value(&[]);
        assert!(error < 1e-12, "accumulating {accumulate}: off by {error}");
    }
}

#[test]
fn masked_weights_do_not_move_under_salun() {
    let settings = "unlearn.saliency_keep_ratio=0.3 unlearn.trainer.max_epochs=2 unlearn.optim.weight_decay=5e-4";
    let mut digits = Digits::new(&format!("unlearn=salun {settings}"));
    digits.train(1);
    let before = digits.model.frozen_copy().unwrap();
    let own = SalUnSettings { retain_weight: 0.5, forget_weight: 0.5, saliency_keep_ratio: 0.3 };
    let chosen = digits.config.unlearn.as_ref().unwrap();
    let only = Phase {
        name: "unlearn",
        epochs: chosen.max_epochs,
        optim: chosen.optim.clone(),
        scheduler: chosen.scheduler.clone(),
        named_parameters: false,
    };
    assert!(only.optim.weight_decay > Some(0.0) && only.optim.momentum > Some(0.0));
    let mut method = SalUn::new(own, only);
    digits.run(&mut method);

    let count = |tensor: &Tensor| tensor.sum(Kind::Int64).int64_value(&[]);
    let (mut kept_total, mut total) = (0, 0);
    for (slot, kept) in &method.mask().unwrap().kept {
        let name = &digits.model.state.layout().spec(*slot).name;
        let moved = before.state.get(*slot).ne_tensor(digits.model.state.get(*slot));
        assert_eq!(count(&moved.logical_and(&kept.logical_not())), 0, "{name}: masked weights have moved");
        assert_eq!(count(&moved.logical_and(kept)), count(kept), "{name}: kept weights have not moved");
        kept_total += count(kept);
        total += kept.numel() as i64;
    }
    assert!((kept_total as f64 - 0.3 * total as f64).abs() <= 1.0, "{kept_total} of {total} kept");
    // The mask does not apply to running statistics.
    let mean = |model: &Model| model.state.by_name("bn1.running_mean").unwrap().copy();
    assert_ne!(mean(&before), mean(&digits.model));
}

#[test]
fn impossible_settings_are_refused_by_name() {
    for (overrides, key) in [
        ("unlearn=neggradp unlearn.retain_weight=-1", "unlearn.retain_weight"),
        ("unlearn=neggradp unlearn.sequential=true unlearn.neggrad.epochs=0", "unlearn.neggrad.epochs"),
        ("unlearn=neggradp unlearn.sequential=true unlearn.finetune.optim.lr=0", "unlearn.finetune.optim.lr"),
        ("unlearn=neggradp unlearn.sequential=true unlearn.finetune.optim.name=none", "unlearn.finetune.optim.name"),
        ("unlearn=neggradp unlearn.sequential=true ~unlearn.finetune", "unlearn.finetune"),
        ("unlearn=l1sparse unlearn.l1.gamma=-1e-4", "unlearn.l1.gamma"),
        ("unlearn=l1sparse unlearn.l1.schedule=quadratic", "unlearn.l1.schedule"),
        ("unlearn=scrub unlearn.temperature=0", "unlearn.temperature"),
        ("unlearn=scrub unlearn.alpha=-0.5", "unlearn.alpha"),
        ("unlearn=salun unlearn.saliency_keep_ratio=0", "unlearn.saliency_keep_ratio"),
        ("unlearn=salun unlearn.saliency_keep_ratio=1.5", "unlearn.saliency_keep_ratio"),
        ("unlearn=salun ++unlearn.forget_weight=-2", "unlearn.forget_weight"),
    ] {
        let config = configure(overrides);
        let error = unlearn::build(config.unlearn.as_ref().unwrap()).err().expect(overrides);
        assert!(error.message().contains(&format!("`{key}`")), "{overrides}: {error}");
    }
}
