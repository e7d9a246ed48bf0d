//! Colours of float images [N, 3, H, W], each sample with a factor of its own, [N, 1, 1, 1].
//!
//! torchvision's `adjust_*`: a factor of 1 leaves an image as it is, 0 takes the property away. Results are clamped to
//! 0..`white`, the value of a white pixel.

use tch::{Kind, Tensor};

use crate::error::Result;

/// Weights of red, green and blue in grey (ITU-R BT.601).
const GREY: [f64; 3] = [0.2989, 0.587, 0.114];

/// [N, 3, H, W] to [N, 1, H, W].
pub(super) fn grey(images: &Tensor) -> Result<Tensor> {
    let weight = |channel: usize| {
        Tensor::f_from_slice(&GREY[channel..=channel])?.f_to_kind(images.kind())?.f_to_device(images.device())
    };
    let channel = |i: i64| images.f_narrow(1, i, 1);
    // Fused multiply-adds, as in torchvision's `add_(alpha)`.
    let red = channel(0)?.f_mul(&weight(0)?)?;
    Ok(red.f_addcmul(&channel(1)?, &weight(1)?)?.f_addcmul(&channel(2)?, &weight(2)?)?)
}

/// `factors` x images + (1 - `factors`) x `other`. `rest` is 1 - `factors`, rounded once.
pub(super) fn blend(images: &Tensor, other: &Tensor, factors: &Tensor, rest: &Tensor, white: f64) -> Result<Tensor> {
    Ok(images.f_mul(factors)?.f_addcmul(other, rest)?.f_clamp_(0.0, white)?)
}

/// Mean grey of each image in [0, 1], [N, 1, 1, 1].
///
/// Summed in fixed point with 32 fraction bits: the result does not depend on the order, so not on the batch either.
pub(super) fn mean_grey(images: &Tensor) -> Result<Tensor> {
    let one = (1u64 << 32) as f64;
    let grey = grey(images)?;
    let pixels = (grey.size()[2] * grey.size()[3]) as f64;
    let sum = grey.f_to_kind(Kind::Double)?.f_mul_scalar(one)?.f_to_kind(Kind::Int64)?.f_sum_dim_intlist(
        [2, 3].as_slice(),
        true,
        Kind::Int64,
    )?;
    Ok(sum.f_to_kind(Kind::Double)?.f_div_scalar(pixels * one)?.f_to_kind(images.kind())?)
}

/// Turns the hue of images in [0, 1] by `turns` of the colour circle (Smith 1978, the hexagonal model).
pub(super) fn turn_hue(images: &Tensor, turns: &Tensor) -> Result<Tensor> {
    let channel = |i: i64| images.f_narrow(1, i, 1);
    let (red, green, blue) = (channel(0)?, channel(1)?, channel(2)?);
    let value = red.f_maximum(&green)?.f_maximum(&blue)?;
    let range = value.f_sub(&red.f_minimum(&green)?.f_minimum(&blue)?)?;
    // Sixths of a turn from red; the greatest channel says in which third, the first one where two are equal.
    let (is_red, is_green) = (red.f_eq_tensor(&value)?, green.f_eq_tensor(&value)?);
    let third = |ahead: &Tensor, behind: &Tensor, sixths: f64| -> Result<Tensor> {
        // Grey has no hue: 0 / tiny.
        Ok(ahead.f_sub(behind)?.f_div_(&range.f_clamp_min(f64::from(f32::MIN_POSITIVE))?)?.f_add_scalar_(sixths)?)
    };
    let in_green = third(&blue, &red, 2.0)?.f_where_self(&is_green, &third(&red, &green, 4.0)?)?;
    let hue = third(&green, &blue, 0.0)?.f_where_self(&is_red, &in_green)?.f_add_(&turns.f_mul_scalar(6.0)?)?;
    let hue = hue.f_sub(&hue.f_mul_scalar(1.0 / 6.0)?.f_floor_()?.f_mul_scalar_(6.0)?)?; // In [0, 6).
    // How far each channel lies below the greatest, as a share of the range: a trapezium over the circle.
    let constants = |values: [f64; 3]| -> Result<Tensor> {
        Ok(Tensor::f_from_slice(&values)?
            .f_view([1, 3, 1, 1])?
            .f_to_kind(images.kind())?
            .f_to_device(images.device())?)
    };
    let drop = hue.f_sub(&constants([3.0, 2.0, 4.0])?)?.f_abs_()?.f_mul_(&constants([-1.0, 1.0, 1.0])?)?;
    let drop = drop.f_add(&constants([2.0, -1.0, -1.0])?)?.f_clamp_(0.0, 1.0)?;
    Ok(value.f_sub(&drop.f_mul(&range)?)?)
}
