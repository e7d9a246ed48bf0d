//! l1-sparse: finetuning with a penalty that ends_pass weights to zero (Jia et al. 2023, arXiv 2304.04934).
//!
//! Each step minimises
//!
//! ```text
//! CE(f; B_s) + gamma_e * sum of |theta|
//! ```
//!
//! with B_s an augmented batch of the retain subset and theta *all* learning parameters, biases and norm layers too.
//! gamma_e follows a [`Ramp`] over the epochs; under `linear_decay` the last epoch has no penalty at all.

use serde::Deserialize;
use tch::Tensor;

use super::{only_phase, settings};
use crate::config::schema::UnlearnConfig;
use crate::data::{Part, Sampler};
use crate::error::Result;
use crate::models::State;
use crate::train::loss::cross_entropy_sum;
use crate::train::{Method, Pass, Phase, Step, Term};

#[derive(Deserialize)]
struct Group {
    l1: Settings,
}

/// `unlearn.l1` of the configuration.
#[derive(Debug, Clone, Copy, Deserialize)]
pub struct Settings {
    pub gamma: f64,
    pub schedule: Ramp,
}

/// How the weight of the penalty changes over the epochs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ramp {
    Constant,
    LinearGrow,
    LinearDecay,
}

impl Settings {
    /// Weight of the penalty in epoch `epoch` (0-based) of `epochs`. Both slopes average about `gamma`.
    pub fn weight(&self, epoch: usize, epochs: usize) -> f64 {
        let done = 2.0 * (epoch + 1) as f64 / epochs as f64;
        match self.schedule {
            Ramp::Constant => self.gamma,
            Ramp::LinearGrow => self.gamma * done,
            Ramp::LinearDecay => self.gamma * (2.0 - done),
        }
    }
}

pub struct L1Sparse {
    pub settings: Settings,
    pub phase: Phase,
}

pub fn build(config: &UnlearnConfig) -> Result<Box<dyn Method>> {
    let Group { l1 } = settings(config)?;
    if !(l1.gamma >= 0.0 && l1.gamma.is_finite()) {
        return Err(config.method.reject("l1.gamma", "a number, at least 0"));
    }
    Ok(Box::new(L1Sparse { settings: l1, phase: only_phase(config) }))
}

/// Sum of absolute values over the learning parameters: a scalar.
fn l1_norm(state: &State) -> Result<Tensor> {
    let learning = state.parameters().map(|(_, _, tensor)| tensor).filter(|tensor| tensor.requires_grad());
    let sums = learning.map(|tensor| tensor.f_abs()?.f_sum(None)).collect::<Result<Vec<_>, _>>()?;
    Ok(Tensor::f_stack(&sums, 0)?.f_sum(None)?)
}

impl Method for L1Sparse {
    fn phases(&self) -> Vec<Phase> {
        vec![self.phase.clone()]
    }

    fn passes(&self, _: usize, _: usize) -> Vec<Pass> {
        vec![Pass::new("train", [Sampler::train(Part::RetainSubset)])]
    }

    fn graph_key(&self, _: usize, epoch: usize) -> Option<u64> {
        // The weight of the penalty is a constant of the step.
        Some(self.settings.weight(epoch, self.phase.epochs).to_bits())
    }

    fn losses(&mut self, step: &Step<'_>) -> Result<Vec<Term>> {
        let batch = step.batch(Part::RetainSubset.name())?;
        let logits = step.train(batch)?;
        let ce = cross_entropy_sum(&logits, &batch.labels, 0.0);
        // The penalty belongs to the step, not to its samples. Counted once for each sample and divided by their
        // number, it has weight one in all, however the samples are cut into ranks and micro-steps.
        let penalty = l1_norm(&step.model.state)? * batch.shard.len() as f64;
        let weight = self.settings.weight(step.epoch, self.phase.epochs);
        Ok(vec![
            Term::over(batch, "ce", 1.0, ce).with_accuracy(&logits, batch),
            Term::over(batch, "l1_norm", weight, penalty),
        ])
    }
}
