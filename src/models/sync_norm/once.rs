//! First derivatives in one piece, with float64 statistics.
//!
//! With x^ = (x - mean) / sqrt(var + eps), both over the joined batch of n values per channel, and y = weight x^ +
//! bias:
//!
//! ```text
//! dL/dx = weight / sqrt(var + eps) (dy - (sum of dy) / n - x^ (sum of dy x^) / n)
//! ```
//!
//! where the sums go over the values of all ranks. The gradients of weight and bias are this rank's part, as those of all
//! parameters.

use tch::{Kind, Tensor, no_grad};

use super::moments::Moments;
use super::{Derivative, Tensors, differentiable};
use crate::error::Result;
use crate::models::norm::EPS;
use crate::torch::{AllReduce, batch_norm_backward};

pub fn forward(ranks: &dyn AllReduce, x: &Tensor, tensors: Tensors<'_>, single_value: bool) -> Result<Tensor> {
    let (output, saved) = no_grad(|| -> Result<_> {
        let moments = Moments::of(ranks, x)?;
        moments.move_running(tensors, single_value)?;
        let output = moments.normalise(x, tensors)?;
        Ok((output, Saved { x: x.f_detach()?, weight: tensors.weight.f_detach()?, moments }))
    })?;
    differentiable(output, saved, ranks, x, tensors)
}

/// What the backward pass needs of the forward pass.
struct Saved {
    x: Tensor,
    weight: Tensor,
    moments: Moments,
}

impl Derivative for Saved {
    fn gradients(&self, ranks: &dyn AllReduce, grad: &Tensor) -> Result<Vec<Tensor>> {
        let Saved { x, weight, moments: Moments { count, mean, var } } = self;
        let kind = weight.f_kind()?;
        let (centre, narrow_var) = (mean.f_to_kind(kind)?, var.f_to_kind(kind)?);
        // As if the statistics were constants. Sums: dy, and dy (x - centre) / sqrt(var + eps).
        let [mut by_x, by_weight, by_bias] = match x.numel() {
            0 => [x.f_empty_like()?, weight.f_zeros_like()?, weight.f_zeros_like()?],
            _ => batch_norm_backward(grad, x, weight, (&centre, &narrow_var), EPS)?,
        };
        let invstd = var.f_add_scalar(EPS)?.f_rsqrt()?;
        // The mean that was lost in rounding it to `centre`.
        let rest = mean.f_sub(&centre)?;
        let own_dy = by_bias.f_to_kind(Kind::Double)?;
        let own_dy_x = by_weight.f_to_kind(Kind::Double)?.f_sub(&own_dy.f_mul(&rest)?.f_mul(&invstd)?)?;

        let mut sums = Tensor::f_stack(&[&own_dy, &own_dy_x], 0)?;
        ranks.all_reduce(&mut sums)?;
        let (dy, dy_x) = (sums.f_get(0)?, sums.f_get(1)?);
        // What is missing is an affine map of x for each channel: (x - centre) slope + shift.
        let by_count = weight.f_to_kind(Kind::Double)?.f_mul(&invstd)?.f_div(count)?.f_neg()?;
        let slope = by_count.f_mul(&dy_x)?.f_mul(&invstd)?;
        let shift = by_count.f_mul(&dy)?.f_sub(&slope.f_mul(&rest)?)?;
        if x.numel() > 0 {
            let (slope, shift, one) = (slope.f_to_kind(kind)?, shift.f_to_kind(kind)?, centre.f_ones_like()?);
            let affine = (Some(&slope), Some(&shift));
            let missing = x.f_batch_norm(affine.0, affine.1, Some(&centre), Some(&one), false, 0.0, 0.0, false)?;
            let _ = by_x.f_add_(&missing)?;
        }
        Ok(vec![by_x, own_dy_x.f_to_kind(kind)?, by_bias])
    }
}
