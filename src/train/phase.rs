//! Phases and passes: the parts of a training.
//!
//! A training is a list of phases, a phase is a number of epochs, an epoch is a list of passes.

use crate::config::schema::{OptimConfig, SchedulerConfig};
use crate::data::Sampler;

/// Epochs under one optimizer and one schedule.
#[derive(Debug, Clone)]
pub struct Phase {
    pub name: &'static str,
    pub epochs: usize,
    pub optim: OptimConfig,
    /// None: a constant learning rate.
    pub scheduler: Option<SchedulerConfig>,
    /// True if the optimizer gets the names of the parameters. `exclude_wd_norm_bias` needs them.
    pub named_parameters: bool,
}

/// A part of an epoch: each micro-step takes one batch of every sampler. The pass ends with the shortest sampler among
/// those with `ends_pass`.
#[derive(Debug, Clone)]
pub struct Pass {
    /// Name of the pass in messages and random keys. Several passes may use the same sampler.
    pub name: &'static str,
    pub samplers: Vec<Sampler>,
}

impl Pass {
    pub fn new(name: &'static str, samplers: impl IntoIterator<Item = Sampler>) -> Self {
        Pass { name, samplers: samplers.into_iter().collect() }
    }
}
