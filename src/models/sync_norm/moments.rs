//! The statistics of the joined batch, differentiable any number of times.
//!
//! Each rank computes the (count, mean, M2) of its share, M2 being the sum of squared distances from the mean, and
//! combines those of all ranks in float64 (Chan, Golub and LeVeque 1979):
//!
//! ```text
//! n    = sum of n_r                 mean = sum of n_r / n * mean_r
//! M2   = sum of M2_r + n_r (mean_r - mean)^2
//! ```
//!
//! Unlike sums and sums of squares, these keep their digits where the mean is large beside the spread. The all-reduce
//! is part of the autograd graph, so that gradients of any order are those of the joined batch. A rank without samples
//! has the same graph, and so takes part in the same collectives, forward and backward.

use tch::{Kind, Tensor, no_grad};

use super::Tensors;
use crate::error::Result;
use crate::models::norm::{EPS, MOMENTUM};
use crate::torch::{self, AllReduce};

pub fn forward(ranks: &dyn AllReduce, x: &Tensor, tensors: Tensors<'_>, single_value: bool) -> Result<Tensor> {
    let moments = Moments::of(ranks, x)?;
    moments.move_running(tensors, single_value)?;
    moments.normalise(x, tensors)
}

/// The statistics of the joined batch, for each channel, in float64.
pub struct Moments {
    /// Values per channel; a scalar without gradient.
    pub count: Tensor,
    /// [C].
    pub mean: Tensor,
    /// Biased: M2 / count. [C].
    pub var: Tensor,
}

impl Moments {
    /// A collective call. `x` is this rank's share (N, C, H, W) of the batch; N may be 0, but not on all ranks.
    pub fn of(ranks: &dyn AllReduce, x: &Tensor) -> Result<Self> {
        let channels = x.size()[1];
        let row = 1 + 2 * channels;
        let (before, after) = (ranks.rank() as i64, (ranks.size() - 1 - ranks.rank()) as i64);
        let mine = torch::channel_moments(x)?.f_constant_pad_nd([before * row, after * row])?;
        let all = torch::all_reduce_in_graph(ranks, &mine)?.f_view([-1, row])?;

        let counts = all.f_narrow(1, 0, 1)?.f_detach()?; // [R, 1]
        let (means, m2s) = (all.f_narrow(1, 1, channels)?, all.f_narrow(1, 1 + channels, channels)?); // [R, C]
        let over_ranks = |rows: Tensor| rows.f_sum_dim_intlist(0, false, Kind::Double);
        let count = counts.f_sum(Kind::Double)?;
        let mean = over_ranks(means.f_mul(&counts.f_div(&count)?)?)?;
        let between = means.f_sub(&mean)?.f_square()?.f_mul(&counts)?;
        let var = over_ranks(m2s.f_add(&between)?)?.f_div(&count)?;
        Ok(Moments { count, mean, var })
    }

    /// Moves the running averages, in place, the variance in its unbiased form. A single value per channel has none:
    /// then `running_var` stays as it is.
    pub fn move_running(&self, tensors: Tensors<'_>, single_value: bool) -> Result<()> {
        no_grad(|| {
            approach(tensors.running_mean, &self.mean)?;
            if single_value {
                return Ok(());
            }
            let unbiased = self.var.f_mul(&self.count)?.f_div(&self.count.f_sub_scalar(1.0)?)?;
            approach(tensors.running_var, &unbiased)
        })
    }

    /// `x` (N, C, H, W) normalised, scaled by `weight` and shifted by `bias` (both [C]), in its own dtype.
    ///
    /// One native affine map per channel: (x - centre) * scale + shift. `centre` is the mean as a constant of x's
    /// precision; `shift` corrects for its rounding, and carries the gradient of the mean.
    pub fn normalise(&self, x: &Tensor, Tensors { weight, bias, .. }: Tensors<'_>) -> Result<Tensor> {
        let kind = weight.f_kind()?;
        let centre = self.mean.f_detach()?.f_to_kind(kind)?;
        let scale = self.var.f_add_scalar(EPS)?.f_rsqrt()?.f_mul(&weight.f_to_kind(Kind::Double)?)?;
        let shift = bias.f_to_kind(Kind::Double)?.f_sub(&self.mean.f_sub(&centre)?.f_mul(&scale)?)?;
        let (scale, shift, one) = (scale.f_to_kind(kind)?, shift.f_to_kind(kind)?, centre.f_ones_like()?);
        let affine = (Some(&scale), Some(&shift));
        Ok(x.f_batch_norm(affine.0, affine.1, Some(&centre), Some(&one), false, 0.0, 0.0, false)?)
    }
}

/// Moves a running average towards `value` by the momentum, rounding once.
fn approach(running: &Tensor, value: &Tensor) -> Result<()> {
    let wide = running.f_to_kind(Kind::Double)?;
    let step = value.f_sub(&wide)? * MOMENTUM;
    running.shallow_clone().f_copy_(&wide.f_add(&step)?)?;
    Ok(())
}
