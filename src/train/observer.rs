//! Reports of steps and epochs, for progress bars, logs and evaluation.

use tch::Tensor;

use super::meter::{Meter, MeterMeans};
use crate::error::Result;
use crate::models::Model;
use crate::optim::FlatParams;

/// The result of an optimizer step.
pub struct StepReport<'a> {
    // --- place in the training ---
    pub phase: &'static str,
    /// 0-based within the phase.
    pub epoch: usize,
    /// Steps done in this pass of the epoch.
    pub step: usize,
    /// Steps of this pass.
    pub steps: usize,

    // --- results ---
    /// Samples in this step from the samplers that end the pass, over all ranks.
    pub images: usize,
    pub meter: &'a Meter,
    pub model: &'a Model,
    /// The trainable parameters, with the gradients of the step.
    pub params: &'a FlatParams,
    /// Norm of the whole gradient before clipping, a float64 scalar on the device. Reading it waits for the step.
    pub grad_norm: Tensor,
}

/// The result of an epoch.
pub struct EpochReport<'a> {
    // --- place in the training ---
    pub phase: &'static str,
    /// 0-based within the phase.
    pub epoch: usize,
    pub epochs: usize,
    /// True if no epoch follows in any phase.
    pub last: bool,

    // --- results ---
    pub learning_rate: f64,
    pub means: MeterMeans,
    /// Samples from the samplers that end a pass, over all ranks.
    pub images: usize,
    /// Seconds of training, without the time of observers between epochs.
    pub seconds: f64,
    pub model: &'a Model,
}

/// Watches a training: progress, logs, evaluation. Called on every rank, in the same order.
pub trait Observer {
    fn step(&mut self, report: &StepReport<'_>) -> Result<()> {
        let _ = report;
        Ok(())
    }

    fn epoch(&mut self, report: &EpochReport<'_>) -> Result<()> {
        let _ = report;
        Ok(())
    }
}

/// Does nothing.
impl Observer for () {}
