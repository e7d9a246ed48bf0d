//! Batch normalization (Ioffe and Szegedy 2015, arXiv 1502.03167).

use std::sync::Once;

use tch::Tensor;

use super::forward::{Forward, Statistics};
use super::init::Init;
use super::layout::{Builder, Dtype, Slot};
use super::per_sample::Layer;
use super::sync_norm;
use crate::error::Result;
use crate::torch::AllReduce;

/// Added to the variance.
pub const EPS: f64 = 1e-5;
/// Share of the newest batch in the running averages.
pub const MOMENTUM: f64 = 0.1;

/// Normalises each channel of (N, C, H, W), then scales by `weight` and shifts by `bias`.
///
/// With the batch's statistics it normalises by the biased variance and moves `running_mean` and `running_var` (the
/// unbiased variance) in place; a single value per channel, which has none, leaves `running_var` alone. A process whose
/// part of the batch is empty leaves its own statistics alone.
#[derive(Debug)]
pub struct BatchNorm {
    pub weight: Slot,
    pub bias: Slot,
    pub running_mean: Slot,
    pub running_var: Slot,
    pub num_batches_tracked: Slot,
}

impl BatchNorm {
    pub fn new(builder: &mut Builder, channels: i64) -> Self {
        let shape = [channels];
        BatchNorm {
            weight: builder.parameter("weight", &shape, Init::Constant(1.0)),
            bias: builder.parameter("bias", &shape, Init::Constant(0.0)),
            running_mean: builder.buffer("running_mean", &shape, Dtype::Float, Init::Constant(0.0)),
            running_var: builder.buffer("running_var", &shape, Dtype::Float, Init::Constant(1.0)),
            num_batches_tracked: builder.buffer("num_batches_tracked", &[], Dtype::Int64, Init::Constant(0.0)),
        }
    }

    pub fn forward(&self, ctx: &Forward<'_>, x: &Tensor) -> Result<Tensor> {
        match ctx.statistics() {
            Statistics::Fused => Ok(x.shallow_clone()),
            Statistics::Running => {
                let BatchNorm { weight, bias, running_mean, running_var, .. } = *self;
                let layer = Layer::Norm { weight, bias, running_mean, running_var };
                ctx.passed(layer, x, self.native(ctx, x, false)?)
            }
            // One rank has the native operation: it does the same in fewer passes over memory.
            Statistics::Global { ranks, samples } if ranks.size() > 1 => self.synchronised(ctx, x, ranks, samples),
            Statistics::Batch | Statistics::Global { .. } => {
                if x.numel() > 0 {
                    ctx.count_batch(self.num_batches_tracked);
                }
                self.native(ctx, x, true)
            }
        }
    }

    fn native(&self, ctx: &Forward<'_>, x: &Tensor, batch: bool) -> Result<Tensor> {
        let running_mean = ctx.weight(self.running_mean);
        let mut running_var = ctx.weight(self.running_var).shallow_clone();
        if batch && x.numel() as i64 == running_mean.size()[0] {
            // One value per channel has no unbiased variance: let the operation spoil a copy.
            warn_of_single_value();
            running_var = running_var.f_detach_copy()?;
        }
        let (weight, bias) = (ctx.weight(self.weight), ctx.weight(self.bias));
        let running = (Some(running_mean), Some(&running_var));
        Ok(x.f_batch_norm(Some(weight), Some(bias), running.0, running.1, batch, MOMENTUM, EPS, true)?)
    }

    fn synchronised(&self, ctx: &Forward<'_>, x: &Tensor, ranks: &dyn AllReduce, samples: usize) -> Result<Tensor> {
        ctx.count_batch(self.num_batches_tracked);
        let single_value = samples == 1 && x.size()[2..] == [1, 1];
        if single_value {
            warn_of_single_value();
        }
        let [weight, bias, running_mean, running_var] =
            [self.weight, self.bias, self.running_mean, self.running_var].map(|slot| ctx.weight(slot));
        let tensors = sync_norm::Tensors { weight, bias, running_mean, running_var };
        let pass = sync_norm::Pass { twice_differentiable: ctx.is_twice_differentiable(), single_value };
        sync_norm::forward(ranks, x, tensors, pass)
    }
}

fn warn_of_single_value() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        tracing::warn!(
            "BatchNorm met a batch of one value per channel: its variance is 0, running_var is left alone. Another \
             data.batch_size leaves no last batch of one sample"
        );
    });
}
