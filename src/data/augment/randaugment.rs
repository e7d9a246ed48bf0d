//! Random operations of one strength (Cubuk et al. 2019, "RandAugment", arXiv 1909.13719): torchvision's `RandAugment`
//! on uint8 images, with nearest neighbours and zeros outside.

use tch::{Device, Kind, Tensor};

use super::affine::{self, AffineMatrix};
use super::color;
use super::rows::{edit_rows, per_sample, rows_with};
use super::tables::{self, LookupTable};
use crate::config::schema::RandAugmentConfig;
use crate::error::Result;
use crate::random::Draws;

/// One operation with its strength.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Op {
    Identity,
    /// Tangent of the angle.
    ShearX(f64),
    /// Tangent of the angle.
    ShearY(f64),
    /// Pixels to the right.
    TranslateX(i64),
    /// Pixels down.
    TranslateY(i64),
    /// Degrees, counter-clockwise.
    Rotate(f64),
    /// Factor of the colours' distance from grey.
    Color(f64),
    /// Factor of the distance from a blurred image.
    Sharpness(f64),
    /// An operation on one value at a time.
    Table(LookupTable),
}

/// The RandAugment of one configuration and image size.
#[derive(Debug, Clone, PartialEq)]
pub struct RandAugment {
    num_ops: i64,
    /// Each kind of operation once, with the signs +1 and -1.
    choices: Vec<[Op; 2]>,
}

impl RandAugment {
    /// `None` if the configuration has no RandAugment. `(height, width)` is the size of the images at this point of the
    /// pipeline.
    pub fn new(settings: Option<&RandAugmentConfig>, (height, width): (i64, i64)) -> Result<Option<Self>> {
        let Some(settings) = settings.filter(|settings| settings.enabled) else { return Ok(None) };
        let RandAugmentConfig { num_ops, magnitude, num_magnitude_bins: bins, .. } = *settings;
        // libtorch's own linspace gives the same bits as torchvision.
        let bin = |first: f64, last: f64| -> Result<f64> {
            Ok(Tensor::f_linspace(first, last, bins, (Kind::Float, Device::Cpu))?.f_double_value(&[magnitude])?)
        };
        let signed = |strength: f64, op: fn(f64) -> Op| [op(strength), op(-strength)];
        let (shear, enhance) = (bin(0.0, 0.3)?, bin(0.0, 0.9)?);
        let shift = |side: i64| bin(0.0, 150.0 / 331.0 * side as f64);
        let bits = 8.0 - magnitude as f32 / ((bins - 1) as f32 / 4.0);
        let choices = vec![
            [Op::Identity; 2],
            signed(shear, Op::ShearX),
            signed(shear, Op::ShearY),
            signed(shift(width)?, |pixels| Op::TranslateX(pixels as i64)),
            signed(shift(height)?, |pixels| Op::TranslateY(pixels as i64)),
            signed(bin(0.0, 30.0)?, Op::Rotate),
            signed(enhance, |strength| Op::Table(LookupTable::Brightness(1.0 + strength))),
            signed(enhance, |strength| Op::Color(1.0 + strength)),
            signed(enhance, |strength| Op::Table(LookupTable::Contrast(1.0 + strength))),
            signed(enhance, |strength| Op::Sharpness(1.0 + strength)),
            [Op::Table(LookupTable::Posterize(bits.round_ties_even() as u8)); 2],
            [Op::Table(LookupTable::Solarize(255.0 * bin(1.0, 0.0)?)); 2],
            [Op::Table(LookupTable::AutoContrast); 2],
            [Op::Table(LookupTable::Equalize); 2],
        ];
        Ok(Some(RandAugment { num_ops, choices }))
    }

    /// Draws the operations of one sample. All kinds and both signs are equally likely.
    pub fn draw(&self, draws: &mut Draws) -> Vec<Op> {
        let one = |_| {
            let signs = &self.choices[draws.below(self.choices.len() as u64) as usize];
            signs[draws.below(2) as usize]
        };
        (0..self.num_ops).map(one).collect()
    }

    /// All operations that can be drawn: for each kind one pair, with both signs.
    pub fn choices(&self) -> &[[Op; 2]] {
        &self.choices
    }
}

/// Applies operations to `images` uint8 [N, 3, H, W], sample i gets `ops[i]`. First all samples do their first
/// operation, then all their second, and so on. Operations of one family run together.
pub fn apply(images: Tensor, ops: &[Vec<Op>]) -> Result<Tensor> {
    let turns = ops.iter().map(Vec::len).max().unwrap_or(0);
    if turns == 0 {
        return Ok(images);
    }
    let mut images = images.f_to_device_(images.device(), images.kind(), false, true)?; // a copy
    let (_, _, height, width) = images.size4()?;
    let matrix = |op: &Op| -> Option<AffineMatrix> {
        match *op {
            Op::ShearX(tangent) => Some(affine::shear(tangent, 0.0, (height, width))),
            Op::ShearY(tangent) => Some(affine::shear(0.0, tangent, (height, width))),
            Op::TranslateX(pixels) => Some(affine::translation(pixels, 0)),
            Op::TranslateY(pixels) => Some(affine::translation(0, pixels)),
            Op::Rotate(degrees) => Some(affine::rotation(degrees)),
            _ => None,
        }
    };
    for turn in 0..turns {
        let now = |ops: &Vec<Op>| ops.get(turn).copied();
        let (rows, matrices) = rows_with(ops, |ops| now(ops).as_ref().and_then(matrix));
        edit_rows(&mut images, &rows, |images| affine::warp(images, &matrices))?;
        let (rows, tables) =
            rows_with(ops, |ops| if let Some(Op::Table(table)) = now(ops) { Some(table) } else { None });
        edit_rows(&mut images, &rows, |images| tables::apply(images, &tables))?;
        let (rows, factors) =
            rows_with(ops, |ops| if let Some(Op::Color(factor)) = now(ops) { Some(factor) } else { None });
        edit_rows(&mut images, &rows, |images| saturate(images, &factors))?;
        let (rows, factors) =
            rows_with(ops, |ops| if let Some(Op::Sharpness(factor)) = now(ops) { Some(factor) } else { None });
        edit_rows(&mut images, &rows, |images| sharpen(images, &factors))?;
    }
    Ok(images)
}

/// torchvision's `adjust_saturation` on uint8.
fn saturate(images: &Tensor, factors: &[f64]) -> Result<Tensor> {
    let (images, device) = (images.f_to_kind(Kind::Float)?, images.device());
    let rests: Vec<f64> = factors.iter().map(|factor| 1.0 - factor).collect();
    let column = |values: &[f64]| per_sample(values, Kind::Float, device);
    let grey = color::grey(&images)?.f_floor()?;
    Ok(color::blend(&images, &grey, &column(factors)?, &column(&rests)?, 255.0)?.f_to_kind(Kind::Uint8)?)
}

/// torchvision's `adjust_sharpness` on uint8: away from or towards the mean over 3 x 3 pixels, in which the middle
/// counts five times. The outermost pixels stay.
fn sharpen(images: &Tensor, factors: &[f64]) -> Result<Tensor> {
    let (_, _, height, width) = images.size4()?;
    if height <= 2 || width <= 2 {
        return Ok(images.shallow_clone());
    }
    let images = images.f_to_kind(Kind::Float)?;
    // Sums of whole numbers are exact in any order.
    let three = |t: &Tensor, dim: i64, side: i64| -> Result<Tensor> {
        let part = |start: i64| t.f_narrow(dim, start, side - 2);
        Ok(part(0)?.f_add(&part(1)?)?.f_add(&part(2)?)?)
    };
    let box_sum = three(&three(&images, 3, width)?, 2, height)?;
    let mut inner = images.f_narrow(2, 1, height - 2)?.f_narrow(3, 1, width - 2)?;
    let blurred = box_sum.f_add(&inner.f_mul_scalar(4.0)?)?.f_div_scalar(13.0)?.f_round()?;
    let rests: Vec<f64> = factors.iter().map(|factor| 1.0 - factor).collect();
    let rests = per_sample(&rests, Kind::Float, images.device())?;
    let away = blurred.f_sub(&inner)?;
    let _same_tensor = inner.f_addcmul_(&away, &rests)?; // a view: `images` changes
    Ok(images.f_clamp(0.0, 255.0)?.f_to_kind(Kind::Uint8)?)
}
