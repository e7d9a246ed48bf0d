//! The only training loop.
//!
//! The choice and order of samples, their augmentation and the learning rate are functions of the step. So the loop
//! keeps no random generator, and its only counters are those in its reports.

use std::time::Instant;

use super::context::TrainContext;
use super::method::Method;
use super::observer::{EpochReport, Observer};
use super::phase::Phase;
use super::phase_run::PhaseRun;
use super::settings::TrainSettings;
use crate::data::DeviceDataset;
use crate::distributed::World;
use crate::error::Result;
use crate::models::Model;
use crate::models::layout::TensorRole;
use crate::optim;

/// A model in training, its data and its settings.
pub struct Trainer<'a> {
    pub world: &'a World,
    pub dataset: &'a DeviceDataset,
    pub model: &'a mut Model,
    pub settings: TrainSettings,
}

impl Trainer<'_> {
    /// Trains the model with `method`. Returns the seconds spent training, without the time of `observer`.
    pub fn run(&mut self, method: &mut dyn Method, observer: &mut dyn Observer) -> Result<f64> {
        let nothing_left = self.settings.limit.is_none();
        let mut context = self.context();
        let clock = Instant::now();
        method.prepare(&mut context)?;
        let mut seconds = clock.elapsed().as_secs_f64();
        let mut phases = method.phases();
        if nothing_left {
            phases.clear(); // no batch of any pass is left
        }
        let last_phase = phases.iter().rposition(|phase| phase.epochs > 0);
        let mut micro_steps = 0;
        for (number, phase) in phases.iter().enumerate() {
            let mut run = PhaseRun::new(&mut context, number, phase, micro_steps)?;
            for epoch in 0..phase.epochs {
                let clock = Instant::now();
                let learning_rate = learning_rate(phase, epoch)?;
                let (means, images) = run.epoch(&mut context, method, observer, epoch, learning_rate)?;
                broadcast_running_statistics(&context)?;
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
                    model: context.model,
                })?;
            }
            micro_steps = run.micro_steps();
        }
        // Moves the weights out of the flat buffers: a trained model needs no gradients.
        context.model.state = context.model.state.deep_copy()?;
        Ok(seconds)
    }

    fn context(&mut self) -> TrainContext<'_> {
        TrainContext { world: self.world, dataset: self.dataset, model: &mut *self.model, settings: &self.settings }
    }
}

/// Without `sync_batchnorm` each rank has running statistics of its own. After an epoch all ranks take those of rank 0.
fn broadcast_running_statistics(context: &TrainContext<'_>) -> Result<()> {
    let TrainContext { world, model, settings, .. } = context;
    if settings.sync_batchnorm || world.size() == 1 {
        return Ok(());
    }
    let buffers = model.state.layout().slots().filter(|(_, entry)| entry.role == TensorRole::Buffer);
    buffers.into_iter().try_for_each(|(slot, _)| world.broadcast(&mut model.state.get(slot).shallow_clone()))
}

/// The learning rate of an epoch (0-based) of `phase`.
fn learning_rate(phase: &Phase, epoch: usize) -> Result<f64> {
    let base = phase.optim.lr.unwrap_or(0.0);
    phase.scheduler.as_ref().map_or(Ok(base), |scheduler| optim::schedule::lr(scheduler, base, epoch as i64))
}
