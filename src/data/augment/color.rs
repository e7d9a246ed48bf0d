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

/// Turns the hue of images in [0, 1] by `turns` of the colour circle, through hue, saturation and value (Smith 1978).
pub(super) fn turn_hue(images: &Tensor, turns: &Tensor) -> Result<Tensor> {
    let (value, least) = (images.f_amax([1].as_slice(), true)?, images.f_amin([1].as_slice(), true)?);
    let range = value.f_sub(&least)?;
    let is_grey = range.f_eq(0.0)?;
    let saturation = range.f_div(&value.f_masked_fill(&is_grey, 1.0)?)?;
    let from_value = value.f_sub(images)?.f_div(&range.f_masked_fill(&is_grey, 1.0)?)?;
    let below = |channel: i64| from_value.f_narrow(1, channel, 1);
    let (red, green, blue) = (below(0)?, below(1)?, below(2)?);
    // Sixths of a turn from red; the greatest channel says in which third, the first one where two are equal.
    let in_green = red.f_sub(&blue)?.f_add_scalar(2.0)?;
    let in_blue = green.f_sub(&red)?.f_add_scalar(4.0)?;
    let sixths =
        blue.f_sub(&green)?.f_where_self(&red.f_eq(0.0)?, &in_green.f_where_self(&green.f_eq(0.0)?, &in_blue)?)?;
    let hue = sixths.f_mul_scalar(1.0 / 6.0)?.f_add_scalar(1.0)?.f_fmod(1.0)?.f_add(turns)?.f_remainder(1.0)?;
    // How far each channel lies below the greatest, as a share of the range: a trapezium over the circle.
    let constants = |values: [f64; 3]| -> Result<Tensor> {
        Ok(Tensor::f_from_slice(&values)?
            .f_view([1, 3, 1, 1])?
            .f_to_kind(images.kind())?
            .f_to_device(images.device())?)
    };
    let distance = hue.f_mul_scalar(6.0)?.f_sub(&constants([3.0, 2.0, 4.0])?)?.f_abs()?; // [N, 3, H, W]
    let drop = constants([2.0, -1.0, -1.0])?.f_addcmul(&distance, &constants([-1.0, 1.0, 1.0])?)?.f_clamp(0.0, 1.0)?;
    Ok(drop.f_mul(&saturation)?.f_neg()?.f_add_scalar(1.0)?.f_mul(&value)?)
}
