//! BatchNorm with float64 statistics whose first derivative is one formula.
//!
//! Let mean and var be those of the joined batch, which has n values per channel, x^ = (x - mean) / sqrt(var + eps) and
//! y = weight x^ + bias. Then:
//!
//! ```text
//! dL/dx = weight / sqrt(var + eps) (dy - (sum of dy) / n - x^ (sum of dy x^) / n)
//! ```
//!
//! The sums go over the values of all ranks. The gradients of weight and bias are sums over this rank's values, like
//! those of all parameters.

use tch::{Kind, Tensor, no_grad};

use super::affine::affine;
use super::arguments::BatchNormTensors;
use super::derivative::{Derivative, differentiable};
use super::moments::BatchMoments;
use crate::error::Result;
use crate::models::norm_constants::EPS;
use crate::torch::{AllReduce, batch_norm_backward};

/// The forward pass. Forward and backward are collective calls.
pub fn forward(ranks: &dyn AllReduce, x: &Tensor, tensors: BatchNormTensors<'_>, single_value: bool) -> Result<Tensor> {
    let (output, saved) = no_grad(|| -> Result<_> {
        let moments = BatchMoments::new(ranks, x)?;
        moments.update_running(tensors, single_value)?;
        let output = moments.normalise(x, tensors)?;
        Ok((output, Saved { x: x.f_detach()?, weight: tensors.weight.f_detach()?, moments }))
    })?;
    differentiable(output, saved, ranks, x, tensors)
}

/// Tensors that the backward pass takes from the forward pass.
struct Saved {
    x: Tensor,
    weight: Tensor,
    moments: BatchMoments,
}

impl Derivative for Saved {
    fn gradients(&self, ranks: &dyn AllReduce, grad: &Tensor) -> Result<Vec<Tensor>> {
        let Saved { x, weight, moments: BatchMoments { count, mean, var } } = self;
        let kind = weight.f_kind()?;
        let (centre, narrow_var) = (mean.f_to_kind(kind)?, var.f_to_kind(kind)?);
        // Derivatives with the statistics as constants. Those of weight and bias are the sums of
        // dy (x - centre) / sqrt(var + eps) and of dy.
        let [mut by_x, by_weight, by_bias] = match x.numel() {
            0 => [x.f_empty_like()?, weight.f_zeros_like()?, weight.f_zeros_like()?],
            _ => batch_norm_backward(grad, x, weight, (&centre, &narrow_var), EPS)?,
        };
        let invstd = var.f_add_scalar(EPS)?.f_rsqrt()?;
        // The part of the mean that rounding to `centre` has lost.
        let rounding = mean.f_sub(&centre)?;
        let own_dy = by_bias.f_to_kind(Kind::Double)?;
        let own_dy_x = by_weight.f_to_kind(Kind::Double)?.f_sub(&own_dy.f_mul(&rounding)?.f_mul(&invstd)?)?;

        let mut sums = Tensor::f_stack(&[&own_dy, &own_dy_x], 0)?;
        ranks.all_reduce(&mut sums)?;
        let (dy, dy_x) = (sums.f_get(0)?, sums.f_get(1)?);
        // The part of dL/dx that comes from the statistics is an affine map of x for each channel.
        let by_count = weight.f_to_kind(Kind::Double)?.f_mul(&invstd)?.f_div(count)?.f_neg()?;
        let slope = by_count.f_mul(&dy_x)?.f_mul(&invstd)?;
        let shift = by_count.f_mul(&dy)?.f_sub(&slope.f_mul(&rounding)?)?;
        if x.numel() > 0 {
            let _ = by_x.f_add_(&affine(x, &centre, &slope, &shift)?)?;
        }
        Ok(vec![by_x, own_dy_x.f_to_kind(kind)?, by_bias])
    }
}
