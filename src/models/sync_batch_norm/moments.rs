//! Statistics of the joined batch, differentiable any number of times.
//!
//! Each rank computes (count, mean, M2) of its shard, where M2 is the sum of squared distances from the mean. Then it
//! combines those of all ranks in float64 (Chan, Golub and LeVeque 1979):
//!
//! ```text
//! n    = sum of n_r                 mean = sum of n_r / n * mean_r
//! M2   = sum of M2_r + n_r (mean_r - mean)^2
//! ```
//!
//! Unlike sums and sums of squares, these numbers keep their precision when the mean is large compared with the spread.
//! The all-reduce is part of the autograd graph, so gradients of any order are those of the joined batch. A rank
//! without samples has the same graph, so it takes part in the same collectives, forward and backward.

use tch::{Kind, Tensor, no_grad};

use super::affine::affine;
use super::arguments::BatchNormTensors;
use crate::error::Result;
use crate::models::norm_constants::{EPS, MOMENTUM};
use crate::torch::{self, AllReduce};

/// Statistics of the joined batch for each channel, in float64.
pub struct BatchMoments {
    /// Number of values per channel, a scalar without gradient.
    pub count: Tensor,
    /// Mean of each channel, [C].
    pub mean: Tensor,
    /// Biased variance of each channel, M2 / count, [C].
    pub var: Tensor,
}

impl BatchMoments {
    /// Statistics of the batch of which `x` (N, C, H, W) is this rank's shard. N may be 0, but not on all ranks. A
    /// collective call.
    pub fn new(ranks: &dyn AllReduce, x: &Tensor) -> Result<Self> {
        let channels = x.size()[1];
        let row = 1 + 2 * channels;
        let (before, after) = (ranks.rank() as i64, (ranks.size() - 1 - ranks.rank()) as i64);
        let own_row = torch::channel_moments(x)?.f_constant_pad_nd([before * row, after * row])?;
        let all = torch::all_reduce_in_graph(ranks, &own_row)?.f_view([-1, row])?;

        let counts = all.f_narrow(1, 0, 1)?.f_detach()?; // [R, 1]
        let (means, m2s) = (all.f_narrow(1, 1, channels)?, all.f_narrow(1, 1 + channels, channels)?); // [R, C]
        let over_ranks = |rows: Tensor| rows.f_sum_dim_intlist(0, false, Kind::Double);
        let count = counts.f_sum(Kind::Double)?;
        let mean = over_ranks(means.f_mul(&counts.f_div(&count)?)?)?;
        let between = means.f_sub(&mean)?.f_square()?.f_mul(&counts)?;
        let var = over_ranks(m2s.f_add(&between)?)?.f_div(&count)?;
        Ok(BatchMoments { count, mean, var })
    }

    /// Updates the running averages in place, `running_var` by the unbiased variance. `single_value` says that the
    /// batch has one value per channel. It has no unbiased variance, so `running_var` stays unchanged.
    pub fn update_running(&self, tensors: BatchNormTensors<'_>, single_value: bool) -> Result<()> {
        no_grad(|| {
            update_average(tensors.running_mean, &self.mean)?;
            if single_value {
                return Ok(());
            }
            let unbiased = self.var.f_mul(&self.count)?.f_div(&self.count.f_sub_scalar(1.0)?)?;
            update_average(tensors.running_var, &unbiased)
        })
    }

    /// Normalises `x` (N, C, H, W), then scales it by `weight` and shifts it by `bias` (both [C]). The result has the
    /// dtype of `x`.
    ///
    /// Computed as one affine map for each channel: (x - centre) * scale + shift. `centre` is a constant, the mean
    /// rounded to the precision of the weights. `shift` corrects for the rounding and carries the gradient of the mean.
    pub fn normalise(&self, x: &Tensor, BatchNormTensors { weight, bias, .. }: BatchNormTensors<'_>) -> Result<Tensor> {
        let kind = weight.f_kind()?;
        let centre = self.mean.f_detach()?.f_to_kind(kind)?;
        let scale = self.var.f_add_scalar(EPS)?.f_rsqrt()?.f_mul(&weight.f_to_kind(Kind::Double)?)?;
        let shift = bias.f_to_kind(Kind::Double)?.f_sub(&self.mean.f_sub(&centre)?.f_mul(&scale)?)?;
        affine(x, &centre, &scale, &shift)
    }
}

/// Updates a running average: adds MOMENTUM (value - running), rounded once.
fn update_average(running: &Tensor, value: &Tensor) -> Result<()> {
    let wide = running.f_to_kind(Kind::Double)?;
    let step = value.f_sub(&wide)? * MOMENTUM;
    running.shallow_clone().f_copy_(&wide.f_add(&step)?)?;
    Ok(())
}
