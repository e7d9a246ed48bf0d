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
    /// Whether the optimizer gets the parameters' names, which `exclude_wd_norm_bias` goes by.
    pub named_parameters: bool,
}

/// One walk over the samplers that end a pass. It ends with the shortest of them.
#[derive(Debug, Clone)]
pub struct Pass {
    /// Name of the pass in messages and random keys. Passes of several names may use the same sampler.
    pub name: &'static str,
    pub samplers: Vec<Sampler>,
}

impl Pass {
    pub fn new(name: &'static str, samplers: impl IntoIterator<Item = Sampler>) -> Self {
        Pass { name, samplers: samplers.into_iter().collect() }
    }
}
