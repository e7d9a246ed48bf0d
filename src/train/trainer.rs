//! The only training loop.
//!
//! Everything that changes from step to step is a function of the step: which samples, in which order, with which
//! augmentation and learning rate. So the loop keeps no generator and no counter but those that it shows.

use std::time::Instant;

use super::meter::{Means, Meter};
use super::method::{Method, Pass, Phase, Step, Term};
use super::model::Model;
use super::reduce::{Reducer, Reduction};
use crate::config::schema::{BatchScope, Compat, Config};
use crate::data::{Batch, Corpus, Feeder};
use crate::dist::World;
use crate::error::{Error, Kind, Result};
use crate::models::Statistics;
use crate::models::layout::Role;
use crate::names::Names;
use crate::optim::{self, FlatParams, Groups, Optimizer};

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
    /// How the ranks' gradients meet.
    pub reduction: Reduction,
    pub compat: Compat,
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
    pub corpus: &'a Corpus,
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
    /// Samples of the driving feeds in this step, over all ranks.
    pub images: usize,
    pub meter: &'a Meter,
    pub model: &'a Model,
    /// Norm of the whole gradient, before clipping.
    pub grad_norm: f64,
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
    pub means: Means,
    /// Samples of the driving feeds, over all ranks.
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
            micro_steps = run.micro_steps;
        }
        // Out of the flat buffers: a trained model needs no gradients.
        self.model.state = self.model.state.deep_copy()?;
        Ok(seconds)
    }

    /// Where BatchNorm gets its statistics in training.
    pub fn statistics(&self) -> Statistics<'_> {
        if self.settings.sync_batchnorm { Statistics::Global(self.world) } else { Statistics::Batch }
    }

    /// Without `sync_batchnorm` each rank has running statistics of its own: all go on with those of rank 0.
    fn share_running_statistics(&self) -> Result<()> {
        if self.settings.sync_batchnorm || self.world.size() == 1 {
            return Ok(());
        }
        let state = &self.model.state;
        let buffers = state.layout().slots().filter(|(_, entry)| entry.role == Role::Buffer);
        buffers.into_iter().try_for_each(|(slot, _)| self.world.from_root(&mut state.get(slot).shallow_clone()))
    }
}

fn phase_rate(phase: &Phase, epoch: usize) -> Result<f64> {
    let base = phase.optim.lr.unwrap_or(0.0);
    phase.scheduler.as_ref().map_or(Ok(base), |scheduler| optim::schedule::lr(scheduler, base, epoch as i64))
}

/// The state of one phase: parameters as flat buffers, optimizer, and how far each feed has come.
struct PhaseRun<'p> {
    number: usize,
    phase: &'p Phase,
    params: FlatParams,
    reducer: Option<Reducer>,
    optimizer: Box<dyn Optimizer>,
    feeders: Vec<Feeder>,
    micro_steps: u64,
}

impl<'p> PhaseRun<'p> {
    fn new(trainer: &mut Trainer<'_>, number: usize, phase: &'p Phase, micro_steps: u64) -> Result<Self> {
        let head = trainer.model.architecture().head().to_vec();
        let frozen = trainer.settings.freeze_backbone;
        let trainable = |slot| !frozen || head.contains(&slot);
        let groups = Groups::new(&phase.optim, phase.named_parameters);
        let Reduction { cuts, compression } = trainer.settings.reduction;
        let params = FlatParams::new(&mut trainer.model.state, groups, cuts, trainable)?;
        let reducer = Reducer::compressing(trainer.world, &params, &trainer.model.state, compression)?;
        let optimizer = optim::build(&phase.optim, &params)?;
        Ok(PhaseRun { number, phase, params, reducer, optimizer, feeders: Vec::new(), micro_steps })
    }

    /// One epoch. Returns the means of its losses and the samples of its driving feeds.
    fn epoch(
        &mut self,
        trainer: &mut Trainer<'_>,
        method: &mut dyn Method,
        observer: &mut dyn Observer,
        epoch: usize,
        learning_rate: f64,
    ) -> Result<(Means, usize)> {
        let mut meter = Meter::new(trainer.corpus.num_classes(), trainer.corpus.device());
        let mut images = 0;
        for pass in method.passes(self.number, epoch) {
            let feeders = self.feeders_of(trainer, &pass)?;
            let micro_steps = self.length(&feeders, &pass)?;
            let window = trainer.settings.accumulate;
            let steps = micro_steps.div_ceil(window);
            for step in 0..steps {
                trainer.world.enter_step(format!(
                    "{}, epoch {}, step {}",
                    trainer.settings.purpose,
                    epoch + 1,
                    step + 1
                ));
                let micro = step * window..micro_steps.min((step + 1) * window);
                self.params.zero_grad()?;
                let mut step_images = 0;
                for index in micro.clone() {
                    if let Some(reducer) = &self.reducer {
                        reducer.begin_micro_step(index + 1 == micro.end);
                    }
                    let (batches, images) = self.draw(trainer, &feeders, epoch, index, &micro)?;
                    meter.add(&self.micro_step(trainer, method, pass.name, epoch, batches)?);
                    step_images += images;
                }
                if let Some(reducer) = &self.reducer {
                    reducer.finish()?;
                }
                method.after_backward(&mut self.params)?;
                let grad_norm = match trainer.settings.clip {
                    Some(limit) => self.params.clip_grad_norm(limit)?,
                    None => self.params.grad_norm()?,
                };
                let grad_norm = grad_norm.f_double_value(&[])?;
                if !grad_norm.is_finite() {
                    return Err(self.not_finite(trainer, &pass, epoch, step, &meter));
                }
                self.optimizer.step(&mut self.params, learning_rate)?;
                method.after_step(&mut self.params)?;
                trainer.world.step_is_queued()?;
                images += step_images;
                // ---- below: only watching ----
                observer.step(&StepReport {
                    phase: self.phase.name,
                    epoch,
                    step: step + 1,
                    steps,
                    images: step_images,
                    meter: &meter,
                    model: trainer.model,
                    grad_norm,
                })?;
            }
        }
        Ok((meter.means(trainer.world)?, images))
    }

    /// The next batch of each feed, and the samples of those that drive.
    fn draw(
        &mut self,
        trainer: &Trainer<'_>,
        feeders: &[usize],
        epoch: usize,
        index: usize,
        window: &std::ops::Range<usize>,
    ) -> Result<(Vec<(&'static str, Batch)>, usize)> {
        let mut batches = Vec::with_capacity(feeders.len());
        let mut images = 0;
        for &number in feeders {
            let feeder = &mut self.feeders[number];
            // Samples of this feed in the whole step: what came before in the window, and what is still to come.
            let before = index - window.start;
            let step_count =
                (0..window.len()).map(|i| feeder.size_at(epoch as u64, index, i as i64 - before as i64)).sum();
            let mut batch = feeder.next(trainer.corpus, trainer.world, epoch as u64, index)?;
            batch.step_count = step_count;
            if feeder.drives() {
                images += batch.global.len();
            }
            trainer.world.tally(&format!("{}/{}", trainer.settings.purpose, feeder.name()), batch.share.len());
            batches.push((feeder.name(), batch));
        }
        Ok((batches, images))
    }

    /// Forward and backward of one micro-step.
    fn micro_step(
        &mut self,
        trainer: &Trainer<'_>,
        method: &mut dyn Method,
        pass: &'static str,
        epoch: usize,
        batches: Vec<(&'static str, Batch)>,
    ) -> Result<Vec<Term>> {
        let step = Step {
            model: trainer.model,
            world: trainer.world,
            corpus: trainer.corpus,
            phase: self.number,
            pass,
            epoch,
            index: self.micro_steps,
            seed: trainer.settings.seed,
            purpose: &trainer.settings.purpose,
            batches,
            statistics: trainer.statistics(),
            reducer: self.reducer.as_ref(),
        };
        let terms = method.gradients(&step)?;
        self.micro_steps += 1;
        Ok(terms)
    }

    /// The feeders of a pass, made when first needed.
    fn feeders_of(&mut self, trainer: &Trainer<'_>, pass: &Pass) -> Result<Vec<usize>> {
        let settings = &trainer.settings;
        pass.feeds
            .iter()
            .map(|feed| match self.feeders.iter().position(|known| known.name() == feed.name) {
                Some(known) => Ok(known),
                None => {
                    let purpose = format!("{}/{}", settings.purpose, self.phase.name);
                    let batch_size = settings.batch_size;
                    self.feeders.push(Feeder::new(feed.clone(), trainer.corpus, batch_size, settings.seed, &purpose)?);
                    Ok(self.feeders.len() - 1)
                }
            })
            .collect()
    }

    /// Micro-steps of a pass: batches of the shortest driving feed.
    fn length(&self, feeders: &[usize], pass: &Pass) -> Result<usize> {
        let driving = feeders.iter().map(|&number| &self.feeders[number]).filter(|feeder| feeder.drives());
        driving
            .map(Feeder::batches)
            .min()
            .ok_or_else(|| Error::new(Kind::Bug, format!("pass {} has no feed that ends it", pass.name)))
    }

    fn not_finite(&self, trainer: &Trainer<'_>, pass: &Pass, epoch: usize, step: usize, meter: &Meter) -> Error {
        let loss = meter.means(trainer.world).map_or(f64::NAN, |means| means.loss);
        Error::new(
            Kind::NonFinite,
            format!(
                "{}, phase {}: the gradient is not finite in epoch {}, pass {}, step {} (mean loss of the epoch so far {loss}); the \
                 weights were left as they were before this step",
                trainer.settings.purpose,
                self.phase.name,
                epoch + 1,
                pass.name,
                step + 1
            ),
        )
        .hint("lower the learning rate, or set trainer.gradient_clip_val")
    }
}
