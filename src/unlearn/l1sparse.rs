//! l1-sparse: finetuning with an l1 penalty, which makes weights sparse (Jia et al. 2023, arXiv 2304.04934).
//!
//! Each step minimises
//!
//! ```text
//! CE(f; B_s) + gamma_e * sum of |theta|
//! ```
//!
//! with B_s an augmented batch of the retain subset and theta *all* trainable parameters, biases and norm layers
//! included. gamma_e follows a [`PenaltySchedule`] over the epochs. Under `linear_decay` the last epoch has no penalty.

use serde::Deserialize;
use tch::Tensor;

use super::settings::{check_non_negative, method_settings, single_phase};
use crate::config::schema::UnlearnConfig;
use crate::data::{Part, Sampler};
use crate::error::Result;
use crate::models::State;
use crate::train::cross_entropy::cross_entropy_term;
use crate::train::{Method, Pass, Phase, Step, Term};

#[derive(Deserialize)]
struct L1SparseKeys {
    l1: L1SparseSettings,
}

/// Settings of l1-sparse, `unlearn.l1` of the configuration.
#[derive(Debug, Clone, Copy, Deserialize)]
pub struct L1SparseSettings {
    pub gamma: f64,
    pub schedule: PenaltySchedule,
}

/// The course of the penalty's weight over the epochs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PenaltySchedule {
    Constant,
    LinearGrow,
    LinearDecay,
}

impl L1SparseSettings {
    /// Weight of the penalty in epoch `epoch` (0-based) of `epochs`. Both slopes average about `gamma`.
    pub fn weight(&self, epoch: usize, epochs: usize) -> f64 {
        let done = 2.0 * (epoch + 1) as f64 / epochs as f64;
        match self.schedule {
            PenaltySchedule::Constant => self.gamma,
            PenaltySchedule::LinearGrow => self.gamma * done,
            PenaltySchedule::LinearDecay => self.gamma * (2.0 - done),
        }
    }
}

/// l1-sparse as a training method.
pub struct L1Sparse {
    pub settings: L1SparseSettings,
    pub phase: Phase,
}

pub fn build(config: &UnlearnConfig) -> Result<Box<dyn Method>> {
    let L1SparseKeys { l1 } = method_settings(config)?;
    check_non_negative(config, &[("l1.gamma", l1.gamma)])?;
    Ok(Box::new(L1Sparse { settings: l1, phase: single_phase(config) }))
}

/// Sum of absolute values over the trainable parameters: a scalar.
fn l1_norm(state: &State) -> Result<Tensor> {
    let trainable = state.parameters().map(|(_, _, tensor)| tensor).filter(|tensor| tensor.requires_grad());
    let sums = trainable.map(|tensor| tensor.f_abs()?.f_sum(None)).collect::<Result<Vec<_>, _>>()?;
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
        let ce = cross_entropy_term(step, batch, "ce", 1.0, 0.0)?;
        // The penalty belongs to the step, not to its samples. It is counted once for each sample and divided by the
        // number of samples of the step. So it counts once for any number of ranks and micro-steps.
        let penalty = l1_norm(&step.model.state)? * batch.shard.len() as f64;
        let weight = self.settings.weight(step.epoch, self.phase.epochs);
        Ok(vec![ce, Term::over(batch, "l1_norm", weight, penalty)])
    }
}
