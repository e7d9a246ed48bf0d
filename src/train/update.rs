//! One optimizer step, from batches to weights. Nothing in it waits for the device.
//!
//! A flag on the device says if the gradient is finite, and the update reads it there: a step with a gradient that is
//! not finite changes neither weights nor moments. The gradients are all-reduced before, so the flag is the same on all
//! ranks. The host reads the norm of the gradient from the [`StepOutcome`] once the next step is in the queue.

use std::rc::Rc;

use tch::{Device, Kind, Tensor, no_grad};

use super::context::TrainContext;
use super::gradient_all_reduce::{AllReduceSettings, GradientAllReduce};
use super::meter::{Meter, TermCount};
use super::method::Method;
use super::mixed::LossScaler;
use super::phase::Phase;
use super::step::{MicroStep, Step, StepPosition};
use crate::error::Result;
use crate::models::Slot;
use crate::optim::{self, FlatParams, Optimizer, WeightDecayGroups};
use crate::torch::Update;

/// The results of a step that the host reads later.
#[derive(Debug)]
pub struct StepOutcome {
    /// float64 [2] on the device: the norm of the whole gradient before clipping, and the loss scale of the step.
    pub norm_and_scale: Tensor,
    /// Counts of each term of each micro-step, for [`Meter::count`].
    pub counts: Rc<[TermCount]>,
}

/// The trainable parameters of a phase, with their optimizer.
pub struct Updater {
    params: FlatParams,
    /// None with a single rank.
    all_reduce: Option<GradientAllReduce>,
    optimizer: Box<dyn Optimizer>,
    /// None: losses are not scaled.
    scaler: Option<LossScaler>,
    /// The learning rate, a scalar: float32 on the device if steps are captured, otherwise float64 on the CPU.
    lr: Tensor,
}

impl Updater {
    /// `capturable`: all values that change between steps lie on the device, so that a CUDA graph of a step can be
    /// replayed.
    pub fn new(context: &mut TrainContext<'_>, phase: &Phase, capturable: bool) -> Result<Self> {
        let slots = context.model.state.layout().parameters().map(|(slot, _)| slot);
        let trainable: Vec<Slot> = slots.filter(|slot| context.is_trainable(*slot)).collect();
        let groups = WeightDecayGroups::new(&phase.optim, phase.named_parameters);
        let AllReduceSettings { bucket_sizes, compression } = context.settings.all_reduce;
        let params = FlatParams::new(&mut context.model.state, groups, bucket_sizes, |slot| trainable.contains(&slot))?;
        let all_reduce = GradientAllReduce::new(context.world, &params, &context.model.state, compression)?;
        let optimizer = optim::build(&phase.optim, &params)?;
        let device = context.dataset.device();
        let rule = context.mixed().and_then(|mixed| mixed.loss_scale);
        let scaler = rule.map(|rule| LossScaler::new(rule, device)).transpose()?;
        let lr_options = if capturable { (Kind::Float, device) } else { (Kind::Double, Device::Cpu) };
        Ok(Updater { params, all_reduce, optimizer, scaler, lr: Tensor::f_zeros([0i64; 0], lr_options)? })
    }

    pub fn params(&self) -> &FlatParams {
        &self.params
    }

    pub fn set_learning_rate(&mut self, lr: f64) -> Result<()> {
        let _ = self.lr.f_fill_(lr)?;
        Ok(())
    }

    /// Forward, backward, all-reduce over the ranks, clipping, update. `micro_steps` are the inputs of the step.
    pub fn step(
        &mut self,
        context: &TrainContext<'_>,
        method: &mut dyn Method,
        meter: &mut Meter,
        position: StepPosition,
        micro_steps: &[MicroStep],
    ) -> Result<StepOutcome> {
        self.params.zero_grad()?;
        let mut counts = Vec::new();
        for (micro_step, inputs) in micro_steps.iter().enumerate() {
            if let Some(all_reduce) = &self.all_reduce {
                all_reduce.begin_micro_step(micro_step + 1 == micro_steps.len());
            }
            let step = Step {
                loss_scale: self.scaler.as_ref().map(LossScaler::scale),
                all_reduce: self.all_reduce.as_ref(),
                ..position.step(context, inputs, micro_step)
            };
            let terms = method.gradients(&step)?;
            self.params.accumulate()?;
            counts.extend(meter.add_on_device(&terms)?);
        }
        if let Some(all_reduce) = &self.all_reduce {
            all_reduce.finish()?;
        }
        if let Some(scaler) = &self.scaler {
            scaler.unscale(&mut self.params)?;
        }
        method.after_backward(&mut self.params)?;
        let norm = match context.settings.clip {
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
        let norm_and_scale = no_grad(|| Tensor::f_stack(&[norm, scale], 0))?;
        if let Some(scaler) = &mut self.scaler {
            scaler.update(&skip)?;
        }
        Ok(StepOutcome { norm_and_scale, counts: counts.into() })
    }
}
