//! `unlearn`: the unlearning method. Its group holds keys that all methods share and keys of the method alone.

use serde::Deserialize;

use super::forms;
use super::optim::{OptimConfig, SchedulerConfig};
use crate::error::Result;
use crate::hydra::Section;

/// The keys that all methods share, and the whole group for the method.
#[derive(Debug, Clone)]
pub struct UnlearnConfig {
    /// A name of `unlearn::REGISTRY`.
    pub name: String,
    pub evaluate_each_epoch: bool,
    /// `unlearn.trainer.max_epochs`; 0 if the group has no `trainer` (one-shot methods).
    pub max_epochs: usize,
    pub optim: OptimConfig,
    pub scheduler: Option<SchedulerConfig>,
    /// The whole group as written. The method reads its own keys from it, with
    /// `Section::decode_ignoring(UnlearnConfig::SHARED_KEYS)`.
    pub method: Section,
}

impl UnlearnConfig {
    /// The keys that a method leaves to this struct.
    pub const SHARED_KEYS: &[&str] = &["name", "evaluate_each_epoch", "trainer", "optim", "scheduler"];

    /// Reads the shared keys of the group. The method checks the others when it reads them.
    ///
    /// # Errors
    /// Wrong type, unknown choice, missing or unknown key.
    pub(in crate::config) fn read(method: Section, warnings: &mut Vec<String>) -> Result<Self> {
        let own_keys: Vec<&str> = method.keys().filter(|key| !Self::SHARED_KEYS.contains(key)).collect();
        let shared: SharedKeys = method.decode_collecting(&own_keys, warnings)?;
        Ok(UnlearnConfig {
            name: shared.name,
            evaluate_each_epoch: shared.evaluate_each_epoch,
            max_epochs: shared.trainer.max_epochs,
            optim: shared.optim,
            scheduler: shared.scheduler,
            method,
        })
    }
}

#[derive(Deserialize)]
struct SharedKeys {
    name: String,
    evaluate_each_epoch: bool,
    #[serde(default)]
    trainer: UnlearnTrainer,
    optim: OptimConfig,
    scheduler: Option<SchedulerConfig>,
}

#[derive(Default, Deserialize)]
struct UnlearnTrainer {
    #[serde(deserialize_with = "forms::epochs")]
    max_epochs: usize,
}
