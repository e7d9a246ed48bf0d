//! The unlearning methods against the golden numbers: losses, gradients and first steps, through the real engine.
//!
//! The setting is that of `fixtures/methods.json`: resnet18 with the CIFAR stem in float64, weights and images by
//! formula, one batch of six per feed. A batch holds the whole part, so its shuffled order changes nothing but the
//! order of sums.

mod formula;
mod formula_network;

use std::sync::Arc;

use formula_network::{formula_images, formula_state};
use regun::config::schema::{Model as ModelConfig, Optim, OptimName, Stem};
use regun::data::resident::Resident;
use regun::data::split::Parts;
use regun::data::{Batch, Corpus, Role};
use regun::dist::World;
use regun::error::Result;
use regun::models::{Architecture, build};
use regun::random::python::Random;
use regun::train::supervised::Supervised;
use regun::train::{Method, Model, Observer, Phase, Settings, Step, StepReport, Trainer};
use regun::unlearn::neggrad::NegGrad;
use regun::unlearn::regun::select::{Choice, Selector, class_informed};
use regun::unlearn::regun::{Aggregation, ReGUn};
use serde_json::Value;
use tch::{Kind, Tensor};

const FORGET: usize = 6;
const RETAIN: usize = 6;
const HELDOUT: usize = 10;

fn fixtures() -> Value {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/methods.json");
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

fn labels(fixtures: &Value, part: &str) -> Vec<i64> {
    fixtures["setup"]["labels"][part].as_array().unwrap().iter().map(|label| label.as_i64().unwrap()).collect()
}

fn indices(value: &Value) -> Vec<usize> {
    value.as_array().unwrap().iter().map(|index| index.as_u64().unwrap() as usize).collect()
}

fn architecture() -> Arc<dyn Architecture> {
    let config = ModelConfig {
        name: "resnet18".into(),
        num_classes: 10,
        pretrained: false,
        stem: Some(Stem::Cifar),
        freeze_backbone: false,
        label_smoothing: None,
        image_size: None,
    };
    build(&config).unwrap().into()
}

/// The three sets as one training set; `heldout` lists which of the ten held-out images take part.
fn corpus(fixtures: &Value, heldout: &[usize]) -> Corpus {
    let images = |stream, n| formula_images(&[n, 3, 16, 16], stream, 1.5, Kind::Double);
    let pixels = Tensor::cat(&[images(1001, 6), images(1002, 6), images(1003, 10)], 0);
    let labels = ["forget", "retain", "heldout"].map(|part| labels(fixtures, part)).concat();
    let retain: Vec<usize> = (FORGET..FORGET + RETAIN).collect();
    let parts = Parts {
        forget: (0..FORGET).collect(),
        retain_subset: retain.clone(),
        retain,
        heldout: heldout.iter().map(|index| FORGET + RETAIN + index).collect(),
        ..Parts::default()
    };
    let test = Resident::new(pixels.narrow(0, 0, 1), labels[..1].to_vec());
    Corpus::prepared(Resident::new(pixels, labels), test, parts, 10, 4)
}

fn phase(epochs: usize) -> Phase {
    Phase {
        name: "unlearn",
        epochs,
        optim: Optim {
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

/// Compares each step with the listed one.
struct Check<'a> {
    what: String,
    steps: &'a [Value],
    seen: usize,
    before: Vec<Tensor>,
    /// Names of loss terms, here and in the fixture.
    terms: &'a [(&'a str, &'a str)],
}

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
            self.close(&format!("{block}.{name}"), got, value, 1e-8);
        }
    }
}

impl Observer for Check<'_> {
    fn step(&mut self, report: &StepReport<'_>) -> Result<()> {
        let wanted = &self.steps[self.seen];
        let means = report.meter.local_means()?;
        self.close("loss", means.loss, &wanted["loss"], 1e-9);
        for (ours, theirs) in self.terms {
            let (_, mean, _) = means.terms.iter().find(|(name, ..)| name == ours).unwrap();
            self.close(theirs, *mean, &wanted[*theirs], 1e-9);
        }
        let model = report.model;
        let grads: Vec<Tensor> = model.state.parameters().map(|(_, _, tensor)| tensor.grad().detach()).collect();
        self.norms("grad_norms", wanted, model, |i, _| grads[i].shallow_clone());
        self.norms("param_norms_after", wanted, model, |_, tensor| tensor.shallow_clone());
        self.norms("update_norms", wanted, model, |i, tensor| tensor - &self.before[i]);
        for (name, value) in wanted["bn_after"].as_object().unwrap() {
            match name.as_str() {
                "num_batches_tracked" => {
                    let count = model.state.by_name("bn1.num_batches_tracked").unwrap().int64_value(&[]);
                    assert_eq!(count, value.as_i64().unwrap(), "{}: train-mode forwards", self.what);
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

/// Runs `method` and compares all its steps with `steps`.
fn check(what: &str, method: &mut dyn Method, corpus: &Corpus, steps: &Value, terms: &[(&str, &str)]) {
    let architecture = architecture();
    let mut model = Model::new(&architecture, formula_state(&*architecture, Kind::Double));
    let steps = steps.as_array().unwrap();
    let mut observer = Check { what: what.to_owned(), steps, seen: 0, before: copies(&model), terms };
    let settings = Settings {
        batch_size: 6,
        accumulate: 1,
        clip: None,
        freeze_backbone: false,
        seed: 42,
        purpose: format!("unlearn/{what}"),
    };
    let mut trainer = Trainer { world: &World::solo(), corpus, model: &mut model, settings };
    trainer.run(method, &mut observer).unwrap();
    assert_eq!(observer.seen, steps.len(), "{what}: steps taken");
}

#[test]
fn finetune_steps_are_the_listed_ones() {
    let fixtures = fixtures();
    let steps = &fixtures["finetune"]["steps"];
    let epochs = steps.as_array().unwrap().len();
    let mut method = Supervised { role: Role::RetainSubset, label_smoothing: 0.0, phase: phase(epochs) };
    check("finetune", &mut method, &corpus(&fixtures, &[]), steps, &[]);
}

#[test]
fn neggrad_steps_are_the_listed_ones() {
    let fixtures = fixtures();
    let steps = &fixtures["neggrad"]["steps"];
    let mut method = NegGrad { phase: phase(steps.as_array().unwrap().len()) };
    check("neggrad", &mut method, &corpus(&fixtures, &[]), steps, &[]);
}

/// Stands for a selector whose draw the fixture lists.
struct Listed(Vec<usize>);

impl Selector for Listed {
    fn prepare(&mut self, _: &Trainer<'_>) -> Result<()> {
        Ok(())
    }

    fn select(&mut self, _: &Step<'_>, _: &Batch) -> Result<Vec<usize>> {
        Ok(self.0.clone())
    }
}

#[test]
fn regun_steps_are_the_listed_ones() {
    let fixtures = fixtures();
    let everything: Vec<usize> = (0..HELDOUT).collect();
    for run in fixtures["regun"]["runs"].as_array().unwrap() {
        let drawn = indices(&run["heldout_indices_used"]);
        let (selector, heldout): (Box<dyn Selector>, &[usize]) = match run["selector"].as_str().unwrap() {
            // With just the listed images held out, the one batch of the cycle is the listed one.
            "uniform" => (Choice::Uniform.build(), &drawn),
            // Its draw has a seed of its own here; the draw itself is tested below.
            "class_informed" => (Box::new(Listed(drawn.clone())), &everything),
            "feature_1nn" => (Choice::Feature1nn.build(), &everything),
            other => panic!("selector {other}"),
        };
        let aggregation = match run["aggregation"].as_str().unwrap() {
            "mean_probs" => Aggregation::MeanProbs,
            _ => Aggregation::MeanLogits,
        };
        let settings = regun::unlearn::regun::Settings {
            selector: Choice::Uniform, // the selector itself is handed over
            aggregation,
            fixed_reference: run["fixed_reference"].as_bool().unwrap(),
            temperature: run["temperature"].as_f64().unwrap(),
            retain_weight: run["retain_weight"].as_f64().unwrap(),
            forget_weight: run["forget_weight"].as_f64().unwrap(),
        };
        let steps = &run["steps"];
        let mut method = ReGUn::new(settings, phase(steps.as_array().unwrap().len()), selector);
        let what = format!("regun {} {} T={}", run["selector"], run["aggregation"], run["temperature"]);
        let terms = [("forget_kl", "regun_loss"), ("retain_ce", "retain_ce")];
        check(&what, &mut method, &corpus(&fixtures, heldout), steps, &terms);
    }
}

#[test]
fn class_informed_draws_the_listed_images() {
    let fixtures = fixtures();
    let (forget, heldout) = (labels(&fixtures, "forget"), labels(&fixtures, "heldout"));
    let drawn = class_informed(&mut Random::new(42), &forget, &heldout);
    let run = fixtures["regun"]["runs"].as_array().unwrap().iter().find(|run| run["selector"] == "class_informed");
    assert_eq!(drawn, indices(&run.unwrap()["heldout_indices_used"]));
}
