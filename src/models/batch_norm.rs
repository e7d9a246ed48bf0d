//! Batch normalization (Ioffe and Szegedy 2015, arXiv 1502.03167).

use std::sync::Once;

use tch::Tensor;

use super::forward::Forward;
use super::init::Init;
use super::layer_pass::Layer;
use super::layout::{LayoutBuilder, Slot, TensorDtype};
use super::norm_constants::{EPS, MOMENTUM};
use super::statistics::Statistics;
use super::sync_batch_norm::{self, BatchNormTensors, SyncNormPass};
use crate::error::Result;
use crate::torch::AllReduce;

/// Normalises each channel of (N, C, H, W), then scales by `weight` and shifts by `bias`.
///
/// With batch statistics it normalises by the biased variance, and updates `running_mean` and `running_var` (the
/// unbiased variance) in place. A batch of one value per channel has no unbiased variance and leaves `running_var`
/// unchanged. With [`Statistics::Batch`], a process whose shard is empty leaves both unchanged.
#[derive(Debug)]
pub struct BatchNorm {
    pub weight: Slot,
    pub bias: Slot,
    pub running_mean: Slot,
    pub running_var: Slot,
    pub num_batches_tracked: Slot,
}

impl BatchNorm {
    pub fn new(builder: &mut LayoutBuilder, channels: i64) -> Self {
        let shape = [channels];
        BatchNorm {
            weight: builder.parameter("weight", &shape, Init::Constant(1.0)),
            bias: builder.parameter("bias", &shape, Init::Constant(0.0)),
            running_mean: builder.buffer("running_mean", &shape, TensorDtype::Float, Init::Constant(0.0)),
            running_var: builder.buffer("running_var", &shape, TensorDtype::Float, Init::Constant(1.0)),
            num_batches_tracked: builder.buffer("num_batches_tracked", &[], TensorDtype::Int64, Init::Constant(0.0)),
        }
    }

    /// Maps (N, C, H, W) to the same shape, with the statistics that `ctx` asks for. A collective call with
    /// [`Statistics::Global`].
    pub fn forward(&self, ctx: &Forward<'_>, x: &Tensor) -> Result<Tensor> {
        match ctx.statistics() {
            Statistics::Fused => Ok(x.shallow_clone()),
            Statistics::Running => {
                let BatchNorm { weight, bias, running_mean, running_var, .. } = *self;
                let layer = Layer::BatchNorm { weight, bias, running_mean, running_var };
                ctx.record_layer(layer, x, self.native(ctx, x, false)?)
            }
            // A single rank uses libtorch's operation: the result is the same, in fewer passes over memory.
            Statistics::Global { ranks, samples } if ranks.size() > 1 => self.synchronised(ctx, x, ranks, samples),
            Statistics::Batch | Statistics::Global { .. } => {
                if x.numel() > 0 {
                    ctx.count_batch(self.num_batches_tracked);
                }
                self.native(ctx, x, true)
            }
        }
    }

    /// libtorch's BatchNorm on the tensors of this process. `batch`: with the statistics of the batch instead of the
    /// running averages.
    fn native(&self, ctx: &Forward<'_>, x: &Tensor, batch: bool) -> Result<Tensor> {
        let running_mean = ctx.weight(self.running_mean);
        let mut running_var = ctx.weight(self.running_var).shallow_clone();
        if batch && x.numel() as i64 == running_mean.size()[0] {
            // One value per channel has no unbiased variance. The operation would write an invalid one: it gets a copy.
            warn_of_single_value();
            running_var = running_var.f_detach_copy()?;
        }
        let (weight, bias) = (ctx.weight(self.weight), ctx.weight(self.bias));
        let running = (Some(running_mean), Some(&running_var));
        Ok(x.f_batch_norm(Some(weight), Some(bias), running.0, running.1, batch, MOMENTUM, EPS, true)?)
    }

    /// BatchNorm with the statistics of the joined batch. A collective call.
    fn synchronised(&self, ctx: &Forward<'_>, x: &Tensor, ranks: &dyn AllReduce, samples: usize) -> Result<Tensor> {
        ctx.count_batch(self.num_batches_tracked);
        let single_value = samples == 1 && x.size()[2..] == [1, 1];
        if single_value {
            warn_of_single_value();
        }
        let [weight, bias, running_mean, running_var] =
            [self.weight, self.bias, self.running_mean, self.running_var].map(|slot| ctx.weight(slot));
        let tensors = BatchNormTensors { weight, bias, running_mean, running_var };
        let pass = SyncNormPass { twice_differentiable: ctx.is_twice_differentiable(), single_value };
        sync_batch_norm::forward(ranks, x, tensors, pass)
    }
}

fn warn_of_single_value() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        tracing::warn!(
            "BatchNorm got a batch of one value per channel: its variance is 0, and running_var stays unchanged. \
             Choose a data.batch_size that leaves no last batch of one sample"
        );
    });
}
