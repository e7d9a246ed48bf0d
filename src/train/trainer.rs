//! The only training loop.
//!
//! Everything that changes from step to step is a function of the step: which samples, in which order, with which
//! augmentation and learning rate. So the loop keeps no generator and no counter but those that it shows.

use std::time::Instant;

use tch::Tensor;

use super::meter::{Meter, MeterMeans};
use super::method::{Method, Phase};
use super::mixed::{self, Mixed};
use super::phase::PhaseRun;
use super::reduce::Reduction;
use crate::config::schema::{BatchScope, CompatConfig, Config, CudaGraphMode};
use crate::data::DeviceDataset;
use crate::distributed::World;
use crate::error::Result;
use crate::models::layout::TensorRole;
use crate::models::{Model, Statistics};
use crate::names::Names;
use crate::optim::{self, FlatParams};

/// How the steps are made, whatever the method.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Samples of one micro-step over all ranks.
    pub batch_size: usize,
    /// Micro-steps per optimizer step.
    pub accumulate: usize,
    /// Largest norm of the whole gradient.
    pub clip: Option<f64>,
    /// Only the head trains.
    pub freeze_backbone: bool,
    /// BatchNorm takes its statistics from the batches of all ranks.
    pub sync_batchnorm: bool,
    /// In force where the data is on a device that it is meant for.
    pub mixed: Option<Mixed>,
    pub cuda_graph: CudaGraphMode,
    /// How the ranks' gradients meet.
    pub reduction: Reduction,
    pub compat: CompatConfig,
    /// What the files of the experiment are called; none where a method's costly preparations are not kept on disk.
    pub names: Option<Names>,
    pub seed: u64,
    /// Role of the model in training (`base`, `reference 1`, `unlearn/regun`); part of every random key.
    pub purpose: String,
}

impl Settings {
    /// What the configuration says, for a model of the role `purpose`.
    pub fn new(config: &Config, world: &World, purpose: &str, seed: u64) -> Self {
        let ranks = match config.data.batch_scope {
            BatchScope::Global => 1,
            BatchScope::PerRank => world.size(),
        };
        Settings {
            batch_size: config.data.batch_size * ranks,
            accumulate: config.trainer.accumulate_grad_batches,
            clip: config.trainer.gradient_clip_val,
            freeze_backbone: config.model.model.freeze_backbone,
            sync_batchnorm: config.trainer.sync_batchnorm,
            mixed: Mixed::new(config.trainer.precision),
            cuda_graph: config.trainer.cuda_graph,
            reduction: Reduction::new(&config.launch),
            compat: config.compat.clone(),
            names: Some(Names::of(config)),
            seed,
            purpose: purpose.to_owned(),
        }
    }
}

/// A model in training, and what it trains on.
pub struct Trainer<'a> {
    pub world: &'a World,
    pub dataset: &'a DeviceDataset,
    pub model: &'a mut Model,
    pub settings: Settings,
}

/// What an optimizer step did.
pub struct StepReport<'a> {
    pub phase: &'static str,
    /// 0-based within the phase.
    pub epoch: usize,
    /// Steps done in this pass of the epoch, and how many it has.
    pub step: usize,
    pub steps: usize,
    /// Samples of the driving samplers in this step, over all ranks.
    pub images: usize,
    pub meter: &'a Meter,
    pub model: &'a Model,
    /// What of the model learns, with the gradients that the step followed.
    pub params: &'a FlatParams,
    /// Norm of the whole gradient before clipping, a scalar on the device: reading it waits for the step.
    pub grad_norm: Tensor,
}

/// What an epoch did.
pub struct EpochReport<'a> {
    pub phase: &'static str,
    /// 0-based within the phase.
    pub epoch: usize,
    pub epochs: usize,
    /// No epoch follows in any phase.
    pub last: bool,
    pub learning_rate: f64,
    pub means: MeterMeans,
    /// Samples of the driving samplers, over all ranks.
    pub images: usize,
    /// Seconds of training, without what observers did between epochs.
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

/// An observer that looks away.
impl Observer for () {}

impl Trainer<'_> {
    /// Trains the model with `method`. Returns the seconds spent training, without what `observer` did.
    pub fn run(&mut self, method: &mut dyn Method, observer: &mut dyn Observer) -> Result<f64> {
        let clock = Instant::now();
        method.prepare(self)?;
        let mut seconds = clock.elapsed().as_secs_f64();
        let phases = method.phases();
        let last_phase = phases.iter().rposition(|phase| phase.epochs > 0);
        let mut micro_steps = 0;
        for (number, phase) in phases.iter().enumerate() {
            let mut run = PhaseRun::new(self, number, phase, micro_steps)?;
            for epoch in 0..phase.epochs {
                let clock = Instant::now();
                let learning_rate = phase_rate(phase, epoch)?;
                let (means, images) = run.epoch(self, method, observer, epoch, learning_rate)?;
                self.share_running_statistics()?;
                let epoch_seconds = clock.elapsed().as_secs_f64();
                seconds += epoch_seconds;
                observer.epoch(&EpochReport {
                    phase: phase.name,
                    epoch,
                    epochs: phase.epochs,
                    last: Some(number) == last_phase && epoch + 1 == phase.epochs,
                    learning_rate,
                    means,
                    images,
                    seconds: epoch_seconds,
                    model: self.model,
                })?;
            }
            micro_steps = run.micro_steps();
        }
        // Out of the flat buffers: a trained model needs no gradients.
        self.model.state = self.model.state.deep_copy()?;
        Ok(seconds)
    }

    /// What a training step computes in; none where it is one dtype for all.
    pub fn mixed(&self) -> Option<Mixed> {
        self.settings.mixed.filter(|mixed| mixed.is_for(self.dataset.device()))
    }

    /// A forward pass in the precision of a training step; what comes out is no narrower than float32.
    pub fn forward(&self, pass: impl FnOnce() -> Result<Tensor>) -> Result<Tensor> {
        mixed::forward(self.mixed(), pass)
    }

    /// Where BatchNorm gets its statistics in training, in a batch of so many samples over all ranks.
    pub fn statistics(&self, samples: usize) -> Statistics<'_> {
        Statistics::of_training(self.world, self.settings.sync_batchnorm, samples)
    }

    /// Without `sync_batchnorm` each rank has running statistics of its own: all go on with those of rank 0.
    fn share_running_statistics(&self) -> Result<()> {
        if self.settings.sync_batchnorm || self.world.size() == 1 {
            return Ok(());
        }
        let state = &self.model.state;
        let buffers = state.layout().slots().filter(|(_, entry)| entry.role == TensorRole::Buffer);
        buffers.into_iter().try_for_each(|(slot, _)| self.world.broadcast(&mut state.get(slot).shallow_clone()))
    }
}

fn phase_rate(phase: &Phase, epoch: usize) -> Result<f64> {
    let base = phase.optim.lr.unwrap_or(0.0);
    phase.scheduler.as_ref().map_or(Ok(base), |scheduler| optim::schedule::lr(scheduler, base, epoch as i64))
}
