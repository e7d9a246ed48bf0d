//! Resizes images of any size to squares of one side: `Resize(side)` and `CenterCrop(side)` of torchvision v2, bilinear
//! with antialiasing, with libtorch's kernel for uint8.

use tch::Tensor;

use super::rgb_image::RgbImage;
use crate::error::Result;

/// Resizes the short side to `side` and keeps the ratio, then cuts a square of that side out of the middle.
pub fn to_square(image: RgbImage, side: usize) -> Result<RgbImage> {
    let RgbImage { width, height, pixels } = image;
    if (width, height) == (side, side) {
        return Ok(RgbImage { width, height, pixels });
    }
    let long = |own: usize, short: usize| (side as f64 * own as f64 / short as f64) as i64;
    let (to_width, to_height) = match width <= height {
        true => (side as i64, long(height, width)),
        false => (long(width, height), side as i64),
    };
    let pixels = Tensor::f_from_slice(&pixels)?.f_view([1, 3, height as i64, width as i64])?;
    let resized = pixels.f_internal_upsample_bilinear2d_aa([to_height, to_width], false, None, None)?;
    // Python rounds half to even.
    let margin = |length: i64| ((length - side as i64) as f64 / 2.0).round_ties_even() as i64;
    let square = resized
        .f_narrow(2, margin(to_height), side as i64)?
        .f_narrow(3, margin(to_width), side as i64)?
        .f_contiguous()?
        .f_view([-1])?;
    Ok(RgbImage { width: side, height: side, pixels: Vec::<u8>::try_from(&square)? })
}
