//! NegGrad+: gradient ascent on forget data, gradient descent on retain data (Kurmanji et al. 2023, arXiv 2302.09880).
//!
//! ```text
//! joint        each step minimises  w_r CE(f; B_r) - w_f CE(f; B_f)
//! sequential   phase `neggrad`:  -CE(f; B_f);  then phase `finetune`:  CE(f; B_r)
//! ```
//!
//! with B_f and B_r augmented batches of forget and retain, drawn side by side: an epoch ends with the shorter of the
//! two, in sequential phases too. Each sequential phase has epochs, optimizer and schedule of its own; momentum does
//! not carry over. The two joint forward passes are separate (forget first), so each set has BatchNorm statistics of
//! its own and the running averages move twice.

use serde::Deserialize;

use super::settings::{check_non_negative, only_phase, own_settings};
use crate::config::schema::{OptimConfig, SchedulerConfig, UnlearnConfig};
use crate::data::{Batch, Part, Sampler};
use crate::error::Result;
use crate::train::loss::cross_entropy_sum;
use crate::train::{Method, Pass, Phase, Step, Term};

/// NegGrad+'s own keys of the group `unlearn`.
#[derive(Deserialize)]
struct NegGradPlusSettings {
    sequential: bool,
    retain_weight: f64,
    forget_weight: f64,
    /// The ascent, needed if `sequential` is true.
    neggrad: Option<SequentialPhase>,
    /// The descent, needed if `sequential` is true.
    finetune: Option<SequentialPhase>,
}

/// One phase of the sequential form.
#[derive(Deserialize)]
struct SequentialPhase {
    epochs: usize,
    optim: OptimConfig,
    scheduler: Option<SchedulerConfig>,
}

pub struct NegGradPlus {
    phases: Vec<Phase>,
    form: NegGradPlusForm,
}

#[derive(Clone, Copy)]
enum NegGradPlusForm {
    Joint { retain_weight: f64, forget_weight: f64 },
    Sequential,
}

pub fn build(config: &UnlearnConfig) -> Result<Box<dyn Method>> {
    let NegGradPlusSettings { sequential, retain_weight, forget_weight, neggrad, finetune } = own_settings(config)?;
    if sequential {
        let ascent = sequential_phase(config, "neggrad", neggrad)?;
        let descent = sequential_phase(config, "finetune", finetune)?;
        return Ok(Box::new(NegGradPlus::sequential(ascent, descent)));
    }
    check_non_negative(config, &[("retain_weight", retain_weight), ("forget_weight", forget_weight)])?;
    Ok(Box::new(NegGradPlus::joint(only_phase(config), retain_weight, forget_weight)))
}

/// The phase `name` of the sequential form, checked.
fn sequential_phase(config: &UnlearnConfig, name: &'static str, phase: Option<SequentialPhase>) -> Result<Phase> {
    let reject = |key: &str, wanted: &str| config.method.reject(&format!("{name}.{key}"), wanted);
    let Some(SequentialPhase { epochs, optim, scheduler }) = phase else {
        return Err(config.method.reject(name, "epochs, optim and scheduler of this phase with sequential=true"));
    };
    if epochs == 0 {
        return Err(reject("epochs", "an integer, at least 1"));
    }
    if let Some((key, wanted)) = optim.fault() {
        return Err(reject(&format!("optim.{key}"), wanted));
    }
    if let Some((key, wanted)) = scheduler.as_ref().and_then(SchedulerConfig::fault) {
        return Err(reject(&format!("scheduler.{key}"), wanted));
    }
    Ok(Phase { name, epochs, optim, scheduler, named_parameters: false })
}

impl NegGradPlus {
    pub fn joint(phase: Phase, retain_weight: f64, forget_weight: f64) -> Self {
        NegGradPlus { phases: vec![phase], form: NegGradPlusForm::Joint { retain_weight, forget_weight } }
    }

    pub fn sequential(ascent: Phase, descent: Phase) -> Self {
        NegGradPlus { phases: vec![ascent, descent], form: NegGradPlusForm::Sequential }
    }
}

/// Cross entropy on `batch`, as a term of the loss.
fn ce(step: &Step<'_>, batch: &Batch, name: &'static str, weight: f64) -> Result<Term> {
    let logits = step.train(batch)?;
    let ce = cross_entropy_sum(&logits, &batch.labels, 0.0);
    Ok(Term::over(batch, name, weight, ce).with_accuracy(&logits, batch))
}

impl Method for NegGradPlus {
    fn phases(&self) -> Vec<Phase> {
        self.phases.clone()
    }

    fn passes(&self, _: usize, _: usize) -> Vec<Pass> {
        vec![Pass::new("train", [Sampler::train(Part::Forget), Sampler::train(Part::Retain)])]
    }

    fn graph_key(&self, _: usize, _: usize) -> Option<u64> {
        Some(0)
    }

    fn losses(&mut self, step: &Step<'_>) -> Result<Vec<Term>> {
        let (forget, retain) = (step.batch(Part::Forget.name())?, step.batch(Part::Retain.name())?);
        match self.form {
            NegGradPlusForm::Joint { retain_weight, forget_weight } => {
                Ok(vec![ce(step, forget, "forget_ce", -forget_weight)?, ce(step, retain, "retain_ce", retain_weight)?])
            }
            NegGradPlusForm::Sequential if step.phase == 0 => Ok(vec![ce(step, forget, "forget_ce", -1.0)?]),
            NegGradPlusForm::Sequential => Ok(vec![ce(step, retain, "retain_ce", 1.0)?]),
        }
    }
}
