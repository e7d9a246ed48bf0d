//! NegGrad+: gradient ascent on forget data, gradient descent on retain data (Kurmanji et al. 2023, arXiv 2302.09880).
//!
//! ```text
//! joint        each step minimises  w_r CE(f; B_r) - w_f CE(f; B_f)
//! sequential   phase `neggrad`:  -CE(f; B_f);  then phase `finetune`:  CE(f; B_r)
//! ```
//!
//! with B_f and B_r augmented batches of forget and retain. Each step takes one of both, and an epoch ends with the
//! shorter of the two, in sequential phases too. Each sequential phase has epochs, optimizer and schedule of its own;
//! momentum does not carry over. The joint form has two forward passes (forget first), so each batch has BatchNorm
//! statistics of its own, and a step updates the running averages twice.

use serde::Deserialize;

use super::settings::{check_at_least_one, check_non_negative, method_settings, single_phase};
use crate::config::schema::{OptimConfig, SchedulerConfig, UnlearnConfig};
use crate::data::{Part, Sampler};
use crate::error::Result;
use crate::train::cross_entropy::cross_entropy_term;
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

/// NegGrad+ as a training method, in one of its two forms.
pub struct NegGradPlus {
    phases: Vec<Phase>,
    form: NegGradPlusForm,
}

/// The form of the loss.
#[derive(Clone, Copy)]
enum NegGradPlusForm {
    Joint { retain_weight: f64, forget_weight: f64 },
    Sequential,
}

pub fn build(config: &UnlearnConfig) -> Result<Box<dyn Method>> {
    let NegGradPlusSettings { sequential, retain_weight, forget_weight, neggrad, finetune } = method_settings(config)?;
    if sequential {
        let ascent = sequential_phase(config, "neggrad", neggrad)?;
        let descent = sequential_phase(config, "finetune", finetune)?;
        return Ok(Box::new(NegGradPlus::sequential(ascent, descent)));
    }
    check_non_negative(config, &[("retain_weight", retain_weight), ("forget_weight", forget_weight)])?;
    Ok(Box::new(NegGradPlus::joint(single_phase(config), retain_weight, forget_weight)))
}

/// The phase `name` of the sequential form, checked.
fn sequential_phase(config: &UnlearnConfig, name: &'static str, phase: Option<SequentialPhase>) -> Result<Phase> {
    let reject = |key: &str, wanted: &str| config.method.reject(&format!("{name}.{key}"), wanted);
    let Some(SequentialPhase { epochs, optim, scheduler }) = phase else {
        return Err(config.method.reject(name, "epochs, optim and scheduler of this phase with sequential=true"));
    };
    check_at_least_one(config, &[(&format!("{name}.epochs"), epochs)])?;
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
        let forget_term = |weight| cross_entropy_term(step, forget, "forget_ce", weight, 0.0);
        let retain_term = |weight| cross_entropy_term(step, retain, "retain_ce", weight, 0.0);
        match self.form {
            NegGradPlusForm::Joint { retain_weight, forget_weight } => {
                Ok(vec![forget_term(-forget_weight)?, retain_term(retain_weight)?])
            }
            NegGradPlusForm::Sequential if step.phase == 0 => Ok(vec![forget_term(-1.0)?]),
            NegGradPlusForm::Sequential => Ok(vec![retain_term(1.0)?]),
        }
    }
}
