//! Changes colours of float images [N, 3, H, W], each sample with its own factor, [N, 1, 1, 1].
//!
//! torchvision's `adjust_*`: a factor of 1 leaves an image as it is, 0 removes the property. Results are clamped to
//! 0..`white`, the value of a white pixel.

use tch::{Kind, Tensor};

use crate::error::Result;

/// Weights of red, green and blue in grey (ITU-R BT.601).
pub(super) const GREY: [f64; 3] = [0.2989, 0.587, 0.114];

/// Grey values: [N, 3, H, W] to [N, 1, H, W].
pub(super) fn grey(images: &Tensor) -> Result<Tensor> {
    let channel = |i: i64| images.f_narrow(1, i, 1);
    let mut grey = channel(0)?.f_mul_scalar(GREY[0])?;
    for i in 1..3 {
        // A fused multiply-add, as in torchvision's `add_(alpha)`. It is fast with a whole tensor of weights.
        grey = grey.f_addcmul_(&channel(i)?, &grey.f_full_like(GREY[i as usize])?)?;
    }
    Ok(grey)
}

/// `factors` x images + (1 - `factors`) x `other`. `other` [N, 1, ...] is the same for all channels, `rests` is
/// 1 - `factors`, rounded once.
pub(super) fn blend(images: &Tensor, other: &Tensor, factors: &Tensor, rests: &Tensor, white: f64) -> Result<Tensor> {
    let channel = |i: i64| images.f_narrow(1, i, 1);
    // Whole tensors and single channels: libtorch's CPU kernels are slow when they broadcast.
    let whole = |t: &Tensor| t.f_expand(channel(0)?.size(), false)?.f_contiguous();
    let (other, rests) = (whole(other)?, whole(rests)?);
    let blended = |i| channel(i)?.f_mul(factors)?.f_addcmul_(&other, &rests)?.f_clamp_(0.0, white);
    Ok(Tensor::f_cat(&(0..images.size()[1]).map(blended).collect::<std::result::Result<Vec<_>, _>>()?, 1)?)
}

/// Mean grey of each image in [0, 1], [N, 1, 1, 1].
///
/// Sums in fixed point with 32 fraction bits. So the result does not depend on the order of the sum, nor on the batch.
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
    // The hue in sixths of a turn from red. The greatest channel gives the third of the circle (the first one if two
    // are equal). Grey has no hue: 0 / tiny. Selections are sums with 0 or 1, which is faster than `where`.
    let third = |ahead: &Tensor, behind: &Tensor, sixths: f64| {
        ahead.f_sub(behind)?.f_div_(&range.f_clamp_min(f64::from(f32::MIN_POSITIVE))?)?.f_add_scalar_(sixths)
    };
    let choose = |channel: &Tensor, greatest: &Tensor, otherwise: Tensor| {
        let other = value.f_sub(channel)?.f_sign_()?;
        greatest.f_addcmul(&other, &otherwise.f_sub(greatest)?)
    };
    let in_green = choose(&green, &third(&blue, &red, 2.0)?, third(&red, &green, 4.0)?)?;
    let hue = choose(&red, &third(&green, &blue, 0.0)?, in_green)?.f_add_(&turns.f_mul_scalar(6.0)?)?;
    let hue = hue.f_sub(&hue.f_mul_scalar(1.0 / 6.0)?.f_floor_()?.f_mul_scalar_(6.0)?)?; // In [0, 6).
    // Each channel lies below the greatest by a fraction of the range. The fraction is a trapezium over the circle.
    let minus_range = range.f_neg()?;
    let turned = |(peak, slope, base): (f64, f64, f64)| {
        let fraction =
            hue.f_sub_scalar(peak)?.f_abs_()?.f_mul_scalar_(slope)?.f_add_scalar_(base)?.f_clamp_(0.0, 1.0)?;
        value.f_addcmul(&fraction, &minus_range)
    };
    let [red, green, blue] = [(3.0, -1.0, 2.0), (2.0, 1.0, -1.0), (4.0, 1.0, -1.0)].map(turned);
    Ok(Tensor::f_cat(&[red?, green?, blue?], 1)?)
}
