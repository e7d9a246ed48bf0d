//! The context of a training, which methods and steps get.

use tch::Tensor;

use super::mixed::{self, Mixed};
use super::settings::TrainSettings;
use crate::data::DeviceDataset;
use crate::distributed::World;
use crate::error::Result;
use crate::models::{Model, Slot, Statistics};

/// The model in training, its data, its settings and the ranks that train it.
pub struct TrainContext<'a> {
    pub world: &'a World,
    pub dataset: &'a DeviceDataset,
    pub model: &'a mut Model,
    pub settings: &'a TrainSettings,
}

impl TrainContext<'_> {
    /// The mixed precision of a training step. None if a step computes in one dtype.
    pub fn mixed(&self) -> Option<Mixed> {
        self.settings.mixed_precision(self.dataset.device())
    }

    /// Runs a forward pass in the precision of a training step. The result is float32 or float64.
    pub fn forward(&self, pass: impl FnOnce() -> Result<Tensor>) -> Result<Tensor> {
        mixed::forward(self.mixed(), pass)
    }

    /// The source of BatchNorm's statistics in training, for a batch of `samples` over all ranks.
    pub fn statistics(&self, samples: usize) -> Statistics<'_> {
        Statistics::for_training(self.world, self.settings.sync_batchnorm, samples)
    }

    /// True if this training changes this parameter.
    pub fn is_trainable(&self, slot: Slot) -> bool {
        self.model.architecture().is_trainable(slot, self.settings.freeze_backbone)
    }
}
