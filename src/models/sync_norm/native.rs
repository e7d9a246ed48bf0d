//! First derivatives on GPUs, by the kernels that libtorch has for this.
//!
//! They hold statistics in float32, or in float64 where the weights do, and combine those of the ranks by Welford's
//! update. Each rank's row is (count, C means, C inverse standard deviations).

use tch::{Kind, Tensor, no_grad};

use super::{Derivative, Tensors, differentiable};
use crate::error::Result;
use crate::models::norm::{EPS, MOMENTUM};
use crate::torch::{self, AllReduce};

pub fn forward(ranks: &dyn AllReduce, x: &Tensor, tensors: Tensors<'_>, single_value: bool) -> Result<Tensor> {
    let (output, saved) = no_grad(|| normalise(ranks, x, tensors, single_value))?;
    differentiable(output, saved, ranks, x, tensors)
}

fn normalise(ranks: &dyn AllReduce, x: &Tensor, tensors: Tensors<'_>, single_value: bool) -> Result<(Tensor, Saved)> {
    let Tensors { weight, bias, running_mean, running_var } = tensors;
    // The kernels want dense memory, in either order.
    let x = torch::to_channels_last(&x.f_detach()?)?;
    let channels = x.size()[1];
    let options = (weight.f_kind()?, x.device());
    let mut rows = Tensor::f_zeros([ranks.size() as i64, 1 + 2 * channels], options)?;
    let mine = rows.f_get(ranks.rank() as i64)?;
    if x.numel() > 0 {
        let (mean, invstd) = x.f_batch_norm_stats(EPS)?;
        let _ = mine.f_narrow(0, 0, 1)?.f_fill_((x.numel() as i64 / channels) as f64)?;
        mine.f_narrow(0, 1, channels)?.f_copy_(&mean)?;
        mine.f_narrow(0, 1 + channels, channels)?.f_copy_(&invstd)?;
    } else {
        // With a count of 0 the kernel adds nothing, whatever is here, if it can be divided by. It divides by the count
        // so far, too: shares leave the last ranks empty, never the first.
        let _ = mine.f_narrow(0, 1 + channels, channels)?.f_fill_(1.0)?;
    }
    ranks.all_reduce(&mut rows)?;

    // One value per channel has no unbiased variance: let the kernel spoil a copy.
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

/// What the backward pass needs of the forward pass.
struct Saved {
    x: Tensor,
    weight: Tensor,
    mean: Tensor,
    invstd: Tensor,
    /// int32 [R].
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
