//! Training settings shared by all methods.

use tch::Device;

use super::gradient_all_reduce::AllReduceSettings;
use super::mixed::Mixed;
use crate::config::schema::{BatchLimit, BatchScope, CompatConfig, Config, CudaGraphMode};
use crate::distributed::World;
use crate::names::Names;

/// Training settings shared by all methods.
#[derive(Debug, Clone)]
pub struct TrainSettings {
    // --- the optimizer step ---
    /// Samples of one micro-step over all ranks.
    pub batch_size: usize,
    /// Micro-steps per optimizer step.
    pub accumulate: usize,
    /// Batches of each pass.
    pub limit: BatchLimit,
    /// Each epoch has the same batches, in the order of the data.
    pub overfits: bool,
    /// Largest norm of the whole gradient. None: gradients are not clipped.
    pub clip: Option<f64>,
    /// Only the head is trained.
    pub freeze_backbone: bool,
    /// BatchNorm takes its statistics from the batches of all ranks.
    pub sync_batchnorm: bool,

    // --- the computation ---
    /// Mixed precision, used if the data is on a device of its type.
    pub mixed: Option<Mixed>,
    pub cuda_graph: CudaGraphMode,
    /// The all-reduce of gradients over the ranks.
    pub all_reduce: AllReduceSettings,

    // --- the identity of the training ---
    pub seed: u64,
    /// Role of the model in training (`base`, `reference 1`, `unlearn/regun`). Part of every random key.
    pub purpose: String,

    // --- files and compatibility ---
    /// Names of the experiment and its files. None: a method's costly preparations are not kept on disk.
    pub names: Option<Names>,
    /// Switches that reproduce quirks of the Python program.
    pub compat: CompatConfig,
}

impl TrainSettings {
    /// The settings of a configuration, for a model of the role `purpose`.
    pub fn new(config: &Config, world: &World, purpose: &str, seed: u64) -> Self {
        let ranks = match config.data.batch_scope {
            BatchScope::Global => 1,
            BatchScope::PerRank => world.size(),
        };
        let overfits = !config.trainer.overfit_batches.is_none();
        TrainSettings {
            batch_size: config.data.batch_size * ranks,
            accumulate: config.trainer.accumulate_grad_batches,
            limit: if overfits { config.trainer.overfit_batches } else { config.trainer.limit_train_batches },
            overfits,
            clip: config.trainer.gradient_clip_val,
            freeze_backbone: config.model.model.freeze_backbone,
            sync_batchnorm: config.trainer.sync_batchnorm,
            mixed: Mixed::new(config.trainer.precision),
            cuda_graph: config.trainer.cuda_graph,
            all_reduce: AllReduceSettings::new(&config.launch),
            seed,
            purpose: purpose.to_owned(),
            names: Some(Names::of(config)),
            compat: config.compat.clone(),
        }
    }

    /// The mixed precision of training steps on `device`. None if a step computes in one dtype.
    pub fn mixed_precision(&self, device: Device) -> Option<Mixed> {
        self.mixed.filter(|mixed| mixed.applies_to(device))
    }
}
