//! Golden steps of the unlearning methods, through the real training loop.
//!
//! The setup is that of `fixtures/methods.json`: resnet18 with the CIFAR stem in float64, weights and images by
//! formula, one batch of six per sampler. A batch holds the whole part, so shuffling changes only the order of sums.

use std::sync::Arc;

use regun::config::schema::{BatchLimit, CompatConfig, CudaGraphMode, ModelConfig, OptimConfig, OptimName, Stem};
use regun::data::DeviceDataset;
use regun::data::device_images::DeviceImages;
use regun::data::split::SplitIndices;
use regun::distributed::World;
use regun::error::Result;
use regun::models::{Architecture, Model, build};
use regun::train::{AllReduceSettings, Method, Observer, Phase, StepReport, TrainSettings, Trainer};
use serde_json::Value;
use tch::{Kind, Tensor};

use crate::formula_network::{formula_images, formula_state};

pub const FORGET: usize = 6;
pub const RETAIN: usize = 6;
pub const HELDOUT: usize = 10;

pub fn fixtures() -> Value {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/methods.json");
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

pub fn labels(fixtures: &Value, part: &str) -> Vec<i64> {
    fixtures["setup"]["labels"][part].as_array().unwrap().iter().map(|label| label.as_i64().unwrap()).collect()
}

pub fn indices(value: &Value) -> Vec<usize> {
    value.as_array().unwrap().iter().map(|index| index.as_u64().unwrap() as usize).collect()
}

pub fn architecture() -> Arc<dyn Architecture> {
    let config = ModelConfig { stem: Some(Stem::Cifar), ..ModelConfig::plain("resnet18", 10) };
    build(&config).unwrap().into()
}

/// The resnet18 of the fixtures with weights by formula.
pub fn formula_model() -> Model {
    let architecture = architecture();
    Model::new(&architecture, formula_state(&*architecture, Kind::Double))
}

/// The forget, retain and held-out images as one training set. `heldout` lists the positions of the held-out images to
/// include.
pub fn dataset(fixtures: &Value, heldout: &[usize]) -> DeviceDataset {
    let images = |stream, n: usize| formula_images(&[n as i64, 3, 16, 16], stream, 1.5, Kind::Double);
    let pixels = Tensor::cat(&[images(1001, FORGET), images(1002, RETAIN), images(1003, HELDOUT)], 0);
    let labels = ["forget", "retain", "heldout"].map(|part| labels(fixtures, part)).concat();
    let retain: Vec<usize> = (FORGET..FORGET + RETAIN).collect();
    let parts = SplitIndices {
        forget: (0..FORGET).collect(),
        retain_subset: retain.clone(),
        retain,
        heldout: heldout.iter().map(|index| FORGET + RETAIN + index).collect(),
        ..SplitIndices::default()
    };
    let test = DeviceImages::new(pixels.narrow(0, 0, 1), labels[..1].to_vec());
    DeviceDataset::prepared(DeviceImages::new(pixels, labels), test, parts, 10, 4)
}

/// A phase of `epochs` epochs with the optimizer of the fixtures: SGD, learning rate 0.01, momentum 0.9.
pub fn phase(epochs: usize) -> Phase {
    Phase {
        name: "unlearn",
        epochs,
        optim: OptimConfig {
            name: OptimName::Sgd,
            lr: Some(0.01),
            weight_decay: Some(0.0),
            momentum: Some(0.9),
            nesterov: Some(false),
            betas: None,
            exclude_wd_norm_bias: Some(true),
        },
        scheduler: None,
        named_parameters: false,
    }
}

/// Compares each training step with the step listed in the fixture.
struct Check<'a> {
    what: String,
    steps: &'a [Value],
    /// Number of steps compared so far.
    seen: usize,
    /// Parameters before the step.
    before: Vec<Tensor>,
    /// Phase, epoch and mean loss of the last step.
    last: (&'static str, usize, f64),
    terms: Terms<'a>,
    norm_tolerance: f64,
}

/// The loss terms of a listed step: the name in the program and the name in the fixture.
pub type Terms<'a> = &'a dyn Fn(&Value) -> &'a [(&'a str, &'a str)];

fn norm<'a>(tensors: impl IntoIterator<Item = &'a Tensor>) -> f64 {
    tensors.into_iter().map(|t| t.norm().double_value(&[]).powi(2)).sum::<f64>().sqrt()
}

impl Check<'_> {
    #[track_caller]
    fn close(&self, name: &str, got: f64, wanted: &Value, tolerance: f64) {
        let wanted = wanted.as_f64().unwrap_or_else(|| panic!("{}: no number for {name}", self.what));
        let distance = (got - wanted).abs() / wanted.abs().max(1e-12);
        assert!(distance <= tolerance, "{} step {}: {name} is {got}, wanted {wanted}", self.what, self.seen);
    }

    fn norms(&self, block: &str, wanted: &Value, model: &Model, of: impl Fn(usize, &Tensor) -> Tensor) {
        let tensors: Vec<(String, Tensor)> = model
            .state
            .parameters()
            .enumerate()
            .map(|(i, (_, entry, tensor))| (entry.name.clone(), of(i, &tensor.detach())))
            .collect();
        for (name, value) in wanted[block].as_object().unwrap() {
            let got = match name.as_str() {
                "total" => norm(tensors.iter().map(|(_, tensor)| tensor)),
                _ => norm(tensors.iter().filter(|(known, _)| known == name).map(|(_, tensor)| tensor)),
            };
            self.close(&format!("{block}.{name}"), got, value, self.norm_tolerance);
        }
    }
}

impl Observer for Check<'_> {
    fn step(&mut self, report: &StepReport<'_>) -> Result<()> {
        let wanted = &self.steps[self.seen];
        let means = report.meter.local_means()?;
        // An epoch may have several passes of one step each. A step's loss is its increase of the epoch's mean loss.
        let same_epoch = (self.last.0, self.last.1) == (report.phase, report.epoch);
        let loss = if same_epoch { means.loss - self.last.2 } else { means.loss };
        self.last = (report.phase, report.epoch, means.loss);
        self.close("loss", loss, &wanted["loss"], 1e-9);
        for (ours, theirs) in (self.terms)(wanted) {
            let term = means.terms.iter().find(|term| term.name == *ours).unwrap();
            self.close(theirs, term.loss, &wanted[*theirs], 1e-9);
        }
        let model = report.model;
        let params = report.params.layout().params();
        let grads: Vec<Tensor> = params.iter().map(|param| report.params.grad(param).unwrap()).collect();
        self.norms("grad_norms", wanted, model, |i, _| grads[i].shallow_clone());
        self.norms("param_norms_after", wanted, model, |_, tensor| tensor.shallow_clone());
        self.norms("update_norms", wanted, model, |i, tensor| tensor - &self.before[i]);
        for (name, value) in wanted["bn_after"].as_object().unwrap() {
            match name.as_str() {
                "num_batches_tracked" => {
                    let count = model.state.by_name("bn1.num_batches_tracked").unwrap().int64_value(&[]);
                    assert_eq!(count, value.as_i64().unwrap(), "{}: forward passes in training mode", self.what);
                }
                _ => self.close(name, norm([model.state.by_name(name).unwrap()]), value, 1e-8),
            }
        }
        self.before = copies(model);
        self.seen += 1;
        Ok(())
    }
}

fn copies(model: &Model) -> Vec<Tensor> {
    model.state.parameters().map(|(_, _, tensor)| tensor.detach().copy()).collect()
}

/// Runs `method` from the formula model in batches of six, and compares all its steps with `steps`. The relative
/// tolerance of the norms is 1e-8.
pub fn check(what: &str, method: &mut dyn Method, dataset: &DeviceDataset, steps: &Value, terms: &[(&str, &str)]) {
    let compat = CompatConfig { scrub_teacher_mode: false };
    Golden { what, dataset, steps, terms: &|_| terms, norm_tolerance: 1e-8, compat }.check(method);
}

/// The input of a method and the expected numbers of its steps.
pub struct Golden<'a> {
    pub what: &'a str,
    pub dataset: &'a DeviceDataset,
    pub steps: &'a Value,
    pub terms: Terms<'a>,
    /// Relative tolerance for the norms of gradients, parameters and updates.
    pub norm_tolerance: f64,
    pub compat: CompatConfig,
}

impl Golden<'_> {
    /// Runs `method` from the formula model in batches of six, and compares all its steps.
    pub fn check(self, method: &mut dyn Method) {
        self.check_from(&mut formula_model(), 6, method);
    }

    /// Runs `method` from `model` in batches of `batch_size`, and compares all its steps.
    pub fn check_from(self, model: &mut Model, batch_size: usize, method: &mut dyn Method) {
        let Golden { what, dataset, steps, terms, norm_tolerance, compat } = self;
        let steps = steps.as_array().unwrap();
        let before = copies(model);
        let last = ("", 0, 0.0);
        let mut observer = Check { what: what.to_owned(), steps, seen: 0, before, last, terms, norm_tolerance };
        let settings = TrainSettings {
            batch_size,
            accumulate: 1,
            limit: BatchLimit::ALL,
            overfits: false,
            clip: None,
            freeze_backbone: false,
            sync_batchnorm: true,
            mixed: None,
            cuda_graph: CudaGraphMode::Off,
            all_reduce: AllReduceSettings { bucket_sizes: (1 << 20).into(), compression: None },
            compat,
            names: None,
            seed: 42,
            purpose: format!("unlearn/{what}"),
        };
        let mut trainer = Trainer { world: &World::solo(), dataset, model, settings };
        trainer.run(method, &mut observer).unwrap();
        assert_eq!(observer.seen, steps.len(), "{what}: number of steps");
    }
}
