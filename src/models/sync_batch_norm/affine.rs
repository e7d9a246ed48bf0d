//! An affine map of each channel, in one kernel of libtorch.

use tch::Tensor;

use crate::error::Result;

/// (x - centre) * scale + shift for each channel of `x` (N, C, H, W). The others are [C]; `scale` and `shift` are
/// rounded to the dtype of `centre` first. The result has the dtype of `x`.
pub fn affine(x: &Tensor, centre: &Tensor, scale: &Tensor, shift: &Tensor) -> Result<Tensor> {
    let kind = centre.f_kind()?;
    let (scale, shift, one) = (scale.f_to_kind(kind)?, shift.f_to_kind(kind)?, centre.f_ones_like()?);
    let (weight, bias) = (Some(&scale), Some(&shift));
    Ok(x.f_batch_norm(weight, bias, Some(centre), Some(&one), false, 0.0, 0.0, false)?)
}
