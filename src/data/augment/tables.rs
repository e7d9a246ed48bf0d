//! Operations on uint8 images that map each value on its own: a lookup table of 256 values per sample and channel, then
//! one gather. Some tables depend on the image.
//!
//! torchvision's `adjust_brightness`, `adjust_contrast`, `posterize`, `solarize`, `autocontrast` and `equalize` on
//! uint8.

use tch::{Device, Kind, Tensor};

use super::color;
use super::rows::{edit_rows, per_sample, rows_with, upload};
use crate::error::Result;

/// Values of a uint8 pixel.
const LEVELS: i64 = 256;

/// An operation that maps each value of an image on its own.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum LookupTable {
    /// Factor.
    Brightness(f64),
    /// Factor about the mean grey.
    Contrast(f64),
    /// Leading bits that are kept.
    Posterize(u8),
    /// Values from here on are inverted.
    Solarize(f64),
    /// Each channel is stretched to the full range.
    AutoContrast,
    /// Each channel gets a flat histogram.
    Equalize,
}

impl LookupTable {
    /// The new value for `v` if it does not depend on the image, else `v` itself.
    fn fixed(self, v: u8) -> u8 {
        match self {
            LookupTable::Brightness(factor) => (f32::from(v) * factor as f32).clamp(0.0, 255.0) as u8,
            LookupTable::Posterize(bits) => v & !(u8::MAX.checked_shr(u32::from(bits)).unwrap_or(0)),
            LookupTable::Solarize(threshold) => {
                if f32::from(v) >= threshold as f32 {
                    !v
                } else {
                    v
                }
            }
            LookupTable::Contrast(_) | LookupTable::AutoContrast | LookupTable::Equalize => v,
        }
    }
}

/// Maps the values of uint8 [N, C, H, W], sample i by `tables[i]`. The shape stays.
pub(super) fn apply(images: &Tensor, tables: &[LookupTable]) -> Result<Tensor> {
    let (n, channels, height, width) = images.size4()?;
    let device = images.device();
    let fixed: Vec<u8> = tables.iter().flat_map(|table| (0..=u8::MAX).map(|v| table.fixed(v))).collect();
    let mut values = upload(&fixed, device)?.f_view([n, 1, LEVELS])?.f_repeat([1, channels, 1])?; // [N, C, 256]

    let images = images.f_contiguous()?;
    let select = |rows: &[usize]| -> Result<Tensor> {
        let rows: Vec<i64> = rows.iter().map(|&row| row as i64).collect();
        Ok(images.f_index_select(0, &upload(&rows, device)?)?)
    };
    let (rows, factors) =
        rows_with(tables, |table| if let LookupTable::Contrast(factor) = table { Some(*factor) } else { None });
    edit_rows(&mut values, &rows, |old| Ok(contrast(&select(&rows)?, &factors)?.f_expand_as(old)?))?;
    let (rows, _) = rows_with(tables, |table| matches!(table, LookupTable::AutoContrast).then_some(()));
    edit_rows(&mut values, &rows, |_| auto_contrast(&select(&rows)?))?;
    let (rows, _) = rows_with(tables, |table| matches!(table, LookupTable::Equalize).then_some(()));
    edit_rows(&mut values, &rows, |_| equalize(&select(&rows)?))?;

    let index = images.f_view([n, channels, height * width])?.f_to_kind(Kind::Int64)?;
    Ok(values.f_gather(2, &index, false)?.f_view([n, channels, height, width])?)
}

/// The numbers 0 to 255 as float32 [256].
fn levels(device: Device) -> Result<Tensor> {
    Ok(Tensor::f_arange(LEVELS, (Kind::Float, device))?)
}

/// Tables of changed contrast, [N, 1, 256].
fn contrast(images: &Tensor, factors: &[f64]) -> Result<Tensor> {
    let device = images.device();
    let (n, _, height, width) = images.size4()?;
    // The sum of whole numbers is exact in any order.
    let grey = color::grey(&images.f_to_kind(Kind::Float)?)?.f_floor()?.f_to_kind(Kind::Int64)?;
    let sum = grey.f_sum_dim_intlist([2, 3].as_slice(), true, Kind::Int64)?.f_to_kind(Kind::Double)?;
    let mean = sum.f_div_scalar((height * width) as f64)?.f_to_kind(Kind::Float)?;
    let rests: Vec<f64> = factors.iter().map(|factor| 1.0 - factor).collect();
    let column = |values: &[f64]| per_sample(values, Kind::Float, device);
    let levels = levels(device)?.f_expand([n, 1, 1, LEVELS], false)?;
    let blended = color::blend(&levels, &mean, &column(factors)?, &column(&rests)?, 255.0)?;
    Ok(blended.f_to_kind(Kind::Uint8)?.f_view([n, 1, LEVELS])?)
}

/// Tables that stretch each channel to the full range, [N, C, 256].
fn auto_contrast(images: &Tensor) -> Result<Tensor> {
    let extreme = |t: Tensor| t.f_to_kind(Kind::Float)?.f_flatten(2, 3);
    let least = extreme(images.f_amin([2, 3].as_slice(), true)?)?; // [N, C, 1]
    let range = extreme(images.f_amax([2, 3].as_slice(), true)?)?.f_sub(&least)?;
    let flat = range.f_eq(0.0)?;
    let scale = range.f_mul_scalar(1.0 / 255.0)?.f_masked_fill(&flat, 1.0)?;
    let stretched = levels(images.device())?.f_sub(&least.f_masked_fill(&flat, 0.0)?)?.f_div(&scale)?;
    Ok(stretched.f_clamp(0.0, 255.0)?.f_to_kind(Kind::Uint8)?)
}

/// Tables of equalised histograms, [N, C, 256], as in Pillow: the number of pixels below a value, in steps of 1/255 of
/// the number of pixels below the greatest value.
fn equalize(images: &Tensor) -> Result<Tensor> {
    let (n, channels, height, width) = images.size4()?;
    let options = (Kind::Int64, images.device());
    let index = images.f_view([n, channels, height * width])?.f_to_kind(Kind::Int64)?;
    let mut counts = Tensor::f_zeros([n, channels, LEVELS], options)?;
    let ones = Tensor::f_ones([1, 1, 1], options)?.f_expand_as(&index)?;
    let _same_tensor = counts.f_scatter_add_(2, &index, &ones)?;
    let greatest = index.f_amax([2].as_slice(), true)?;
    let below_greatest = counts.f_gather(2, &greatest, false)?.f_neg()?.f_add_scalar(height * width)?; // [N, C, 1]
    let step = below_greatest.f_div_scalar_mode(255, "floor")?;
    let below = counts.f_cumsum(2, Kind::Int64)?.f_sub(&counts)?;
    let half = step.f_div_scalar_mode(2, "floor")?;
    let spread = below.f_add(&half)?.f_div_tensor_mode(&step.f_clamp_min(1)?, "floor")?.f_clamp(0, 255)?;
    // With fewer than 255 pixels to spread the image stays.
    let same = Tensor::f_arange(LEVELS, options)?;
    Ok(same.f_where_self(&step.f_eq(0)?, &spread)?.f_to_kind(Kind::Uint8)?)
}
