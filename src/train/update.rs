//! One optimizer step, from batches to weights. Nothing in it waits for the device.
//!
//! Whether the gradient is finite is a number on the device that the update obeys: a step that is not finite changes
//! neither weights nor moments. Gradients are summed over the ranks before, so all ranks find the same. The host hears
//! of it when the next step is on its way, from what [`Updater::step`] returns.

use std::rc::Rc;

use tch::{Device, Kind, Tensor, no_grad};

use super::meter::{Meter, TermCount};
use super::method::{Method, MicroStep, Phase, Step};
use super::mixed::Scaler;
use super::reduce::{Reducer, Reduction};
use super::trainer::Trainer;
use crate::error::Result;
use crate::optim::{self, FlatParams, Optimizer, WeightDecayGroups};
use crate::torch::Update;

/// Where in a training a step is.
#[derive(Debug, Clone, Copy)]
pub struct Place {
    pub phase: usize,
    pub pass: &'static str,
    /// 0-based within the phase.
    pub epoch: usize,
    /// Micro-steps before it since the start of the training.
    pub micro_steps: u64,
}

impl Place {
    /// The micro-step `ahead` of the step's first, as the method sees it.
    pub fn step<'a>(&self, trainer: &'a Trainer<'_>, inputs: &'a MicroStep, ahead: usize) -> Step<'a> {
        Step {
            model: trainer.model,
            world: trainer.world,
            dataset: trainer.dataset,
            phase: self.phase,
            pass: self.pass,
            epoch: self.epoch,
            index: self.micro_steps + ahead as u64,
            seed: trainer.settings.seed,
            purpose: &trainer.settings.purpose,
            inputs,
            mixed: trainer.mixed(),
            loss_scale: None,
            sync_batchnorm: trainer.settings.sync_batchnorm,
            reducer: None,
        }
    }
}

/// What a step leaves behind.
#[derive(Debug)]
pub struct Done {
    /// float64 [2] on the device: the norm of the whole gradient before clipping, and the loss scale that it was made
    /// with.
    pub outcome: Tensor,
    pub counts: Rc<[TermCount]>,
}

/// Parameters, and what moves them.
pub struct Updater {
    params: FlatParams,
    reducer: Option<Reducer>,
    optimizer: Box<dyn Optimizer>,
    scaler: Option<Scaler>,
    lr: Tensor,
}

impl Updater {
    /// `recordable`: what changes between steps lies on the device, for kernels that are launched again as they are.
    pub fn new(trainer: &mut Trainer<'_>, phase: &Phase, recordable: bool) -> Result<Self> {
        let head = trainer.model.architecture().head().to_vec();
        let frozen = trainer.settings.freeze_backbone;
        let trainable = |slot| !frozen || head.contains(&slot);
        let groups = WeightDecayGroups::new(&phase.optim, phase.named_parameters);
        let Reduction { cuts, compression } = trainer.settings.reduction;
        let params = FlatParams::new(&mut trainer.model.state, groups, cuts, trainable)?;
        let reducer = Reducer::compressing(trainer.world, &params, &trainer.model.state, compression)?;
        let optimizer = optim::build(&phase.optim, &params)?;
        let device = trainer.dataset.device();
        let rule = trainer.mixed().and_then(|mixed| mixed.loss_scale);
        let scaler = rule.map(|rule| Scaler::new(rule, device)).transpose()?;
        let of_rate = if recordable { (Kind::Float, device) } else { (Kind::Double, Device::Cpu) };
        Ok(Updater { params, reducer, optimizer, scaler, lr: Tensor::f_zeros([0i64; 0], of_rate)? })
    }

    pub fn params(&self) -> &FlatParams {
        &self.params
    }

    pub fn set_learning_rate(&mut self, lr: f64) -> Result<()> {
        let _ = self.lr.f_fill_(lr)?;
        Ok(())
    }

    /// Forward, backward, sums over the ranks, clipping, update. `window` holds the micro-steps.
    pub fn step(
        &mut self,
        trainer: &Trainer<'_>,
        method: &mut dyn Method,
        meter: &mut Meter,
        place: Place,
        window: &[MicroStep],
    ) -> Result<Done> {
        self.params.zero_grad()?;
        let mut counts = Vec::new();
        for (ahead, inputs) in window.iter().enumerate() {
            if let Some(reducer) = &self.reducer {
                reducer.begin_micro_step(ahead + 1 == window.len());
            }
            let step = Step {
                loss_scale: self.scaler.as_ref().map(Scaler::scale),
                reducer: self.reducer.as_ref(),
                ..place.step(trainer, inputs, ahead)
            };
            let terms = method.gradients(&step)?;
            self.params.accumulate()?;
            counts.extend(meter.record(&terms)?);
        }
        if let Some(reducer) = &self.reducer {
            reducer.finish()?;
        }
        if let Some(scaler) = &self.scaler {
            scaler.unscale(&mut self.params)?;
        }
        method.after_backward(&mut self.params)?;
        let norm = match trainer.settings.clip {
            Some(limit) => self.params.clip_grad_norm(limit)?,
            None => self.params.grad_norm()?,
        };
        let skip = norm.f_isfinite()?.f_logical_not()?.f_to_kind(Kind::Float)?;
        self.optimizer.update(&mut self.params, Update { lr: &self.lr, skip: Some(&skip) })?;
        method.after_step(&mut self.params)?;
        let scale = match &self.scaler {
            Some(scaler) => scaler.scale().f_to_kind(Kind::Double)?,
            None => norm.f_ones_like()?,
        };
        let outcome = no_grad(|| Tensor::f_stack(&[norm, scale], 0))?;
        if let Some(scaler) = &mut self.scaler {
            scaler.update(&skip)?;
        }
        Ok(Done { outcome, counts: counts.into() })
    }
}
