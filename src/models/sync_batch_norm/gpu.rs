//! BatchNorm on GPUs by libtorch's kernels for synchronised BatchNorm, which have a first derivative.
//!
//! The kernels hold statistics in float32, or in float64 if the weights are float64. They combine the statistics of the
//! ranks by Welford's update. Each rank contributes a row: (count, C means, C inverse standard deviations).

use tch::{Kind, Tensor, no_grad};

use super::arguments::BatchNormTensors;
use super::derivative::{Derivative, differentiable};
use crate::error::Result;
use crate::models::norm_constants::{EPS, MOMENTUM};
use crate::torch::{self, AllReduce};

/// The forward pass. Forward and backward are collective calls.
pub fn forward(ranks: &dyn AllReduce, x: &Tensor, tensors: BatchNormTensors<'_>, single_value: bool) -> Result<Tensor> {
    let (output, saved) = no_grad(|| normalise(ranks, x, tensors, single_value))?;
    differentiable(output, saved, ranks, x, tensors)
}

/// The output, and the tensors for the backward pass.
fn normalise(
    ranks: &dyn AllReduce,
    x: &Tensor,
    tensors: BatchNormTensors<'_>,
    single_value: bool,
) -> Result<(Tensor, Saved)> {
    let BatchNormTensors { weight, bias, running_mean, running_var } = tensors;
    // The kernels need dense memory. Both memory orders are allowed.
    let x = torch::to_channels_last(&x.f_detach()?)?;
    let channels = x.size()[1];
    let options = (weight.f_kind()?, x.device());
    let mut rows = Tensor::f_zeros([ranks.size() as i64, 1 + 2 * channels], options)?;
    let own_row = rows.f_get(ranks.rank() as i64)?;
    if x.numel() > 0 {
        let (mean, invstd) = x.f_batch_norm_stats(EPS)?;
        let _ = own_row.f_narrow(0, 0, 1)?.f_fill_((x.numel() as i64 / channels) as f64)?;
        own_row.f_narrow(0, 1, channels)?.f_copy_(&mean)?;
        own_row.f_narrow(0, 1 + channels, channels)?.f_copy_(&invstd)?;
    } else {
        // The kernel ignores a row with a count of 0, but it still divides by the inverse standard deviation, which
        // must not be 0. It also divides by the count of the rows so far. That is above 0, because shards leave the
        // last ranks empty and never the first.
        let _ = own_row.f_narrow(0, 1 + channels, channels)?.f_fill_(1.0)?;
    }
    ranks.all_reduce(&mut rows)?;

    // One value per channel has no unbiased variance. The kernel would write an invalid one: it gets a copy.
    let running_var = if single_value { running_var.f_detach_copy()? } else { running_var.shallow_clone() };
    let counts = rows.f_select(1, 0)?.f_contiguous()?;
    let (means, invstds) = (rows.f_narrow(1, 1, channels)?, rows.f_narrow(1, 1 + channels, channels)?);
    let running = (Some(running_mean), Some(&running_var));
    let (mean, invstd) =
        x.f_batch_norm_gather_stats_with_counts(&means, &invstds, running.0, running.1, MOMENTUM, EPS, &counts)?;
    let output = match x.numel() {
        0 => x.f_empty_like()?,
        _ => x.f_batch_norm_elemt(Some(weight), Some(bias), &mean, &invstd, EPS)?,
    };
    Ok((output, Saved { x, weight: weight.f_detach()?, mean, invstd, counts: counts.f_to_kind(Kind::Int)? }))
}

/// Tensors that the backward pass takes from the forward pass.
struct Saved {
    x: Tensor,
    weight: Tensor,
    mean: Tensor,
    invstd: Tensor,
    /// Values per channel on each rank, int32 [R].
    counts: Tensor,
}

impl Derivative for Saved {
    fn gradients(&self, ranks: &dyn AllReduce, grad: &Tensor) -> Result<Vec<Tensor>> {
        let Saved { x, weight, mean, invstd, counts } = self;
        if x.numel() == 0 {
            ranks.all_reduce(&mut Tensor::f_zeros([2, mean.size()[0]], (mean.f_kind()?, mean.device()))?)?;
            return Ok(vec![x.f_empty_like()?, weight.f_zeros_like()?, weight.f_zeros_like()?]);
        }
        let grad = torch::to_channels_last(grad)?;
        let (dy, dy_x, by_weight, by_bias) =
            x.f_batch_norm_backward_reduce(&grad, mean, invstd, Some(weight), true, true, true)?;
        let mut sums = Tensor::f_stack(&[dy, dy_x], 0)?;
        ranks.all_reduce(&mut sums)?;
        let (dy, dy_x) = (sums.f_get(0)?, sums.f_get(1)?);
        let by_x = x.f_batch_norm_backward_elemt(&grad, mean, invstd, Some(weight), &dy, &dy_x, counts)?;
        Ok(vec![by_x, by_weight, by_bias])
    }
}
