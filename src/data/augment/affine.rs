//! Shear, shift and rotation of whole batches, each sample with its own matrix.
//!
//! torchvision's `affine` and `rotate` on tensors with nearest neighbours. Pixels whose source lies outside are 0.
//! Coordinates are pixels from the centre of the image, x to the right and y down.

use tch::{Device, Kind, Tensor};

use super::rows::upload;
use crate::error::Result;

/// A map from output to source coordinates: x' = a x + b y + c, y' = d x + e y + f.
pub(super) type AffineMatrix = [f64; 6];

/// Shear about the upper left corner of an image of `height` x `width`: tangents of the angles along x and y.
pub(super) fn shear(tangent_x: f64, tangent_y: f64, (height, width): (i64, i64)) -> AffineMatrix {
    let corner = (-0.5 * width as f64, -0.5 * height as f64);
    // The conversion to degrees and back gives the same bits as torchvision.
    let [x, y] = [tangent_x, tangent_y].map(|tangent| tangent.atan().to_degrees().to_radians());
    inverse(corner, 0.0, (0.0, 0.0), (x, y))
}

/// Shift by whole pixels to the right and down.
pub(super) fn translation(x: i64, y: i64) -> AffineMatrix {
    inverse((0.0, 0.0), 0.0, (x as f64, y as f64), (0.0, 0.0))
}

/// Counter-clockwise rotation about the centre.
pub(super) fn rotation(degrees: f64) -> AffineMatrix {
    inverse((0.0, 0.0), -degrees.rem_euclid(360.0).to_radians(), (0.0, 0.0), (0.0, 0.0))
}

/// The inverse of this sequence: shear, rotate by `angle` about `centre`, shift. Angles in radians, clockwise.
fn inverse(centre: (f64, f64), angle: f64, shift: (f64, f64), shear: (f64, f64)) -> AffineMatrix {
    let (x, y) = (centre.0 + shift.0, centre.1 + shift.1);
    let a = (angle - shear.1).cos() / shear.1.cos();
    let b = -(a * shear.0.tan() + angle.sin());
    let c = (angle - shear.1).sin() / shear.1.cos();
    let d = angle.cos() - c * shear.0.tan();
    [d, -b, centre.0 - d * x + b * y, -c, a, centre.1 + c * x - a * y]
}

/// Moves the pixels of uint8 [N, C, H, W], sample i by `matrices[i]`. The shape stays.
pub(super) fn warp(images: &Tensor, matrices: &[AffineMatrix]) -> Result<Tensor> {
    let (n, channels, height, width) = images.size4()?;
    let device = images.device();
    // Coordinates in units of half an image, as in torch's grids: float32 in each step, with the same rounding.
    let half = |side: i64| 0.5 * side as f32;
    let scaled: Vec<f32> = matrices
        .iter()
        .flat_map(|m| {
            [0, 1, 2]
                .map(|i| m[i] as f32 / half(width))
                .into_iter()
                .chain([3, 4, 5].map(|i| m[i] as f32 / half(height)))
        })
        .collect();
    let theta = upload(&scaled, device)?.f_view([n, 6, 1, 1])?;
    let (x, y) = (centred(width, device)?, centred(height, device)?.f_view([height, 1])?);
    let nearest = |first: i64, side: i64| -> Result<Tensor> {
        let coefficient = |i| theta.f_select(1, first + i);
        let along = x.f_mul(&coefficient(0)?)?.f_addcmul(&y, &coefficient(1)?)?.f_add(&coefficient(2)?)?;
        let pixel = along.f_add_scalar(1.0)?.f_mul_scalar(f64::from(half(side)))?.f_sub_scalar(0.5)?;
        Ok(pixel.f_round()?.f_to_kind(Kind::Int64)?) // [N, H, W]
    };
    let (column, row) = (nearest(0, width)?, nearest(3, height)?);
    let within = |index: &Tensor, side: i64| index.f_ge(0)?.f_logical_and(&index.f_lt(side)?);
    let inside = within(&column, width)?.f_logical_and(&within(&row, height)?)?;
    let source = row.f_mul_scalar(width)?.f_add(&column)?.f_mul(&inside)?;
    let area = height * width;
    let source = source.f_view([n, 1, area])?.f_expand([n, channels, area], false)?;
    let moved = images.f_reshape([n, channels, area])?.f_gather(2, &source, false)?;
    Ok(moved.f_view([n, channels, height, width])?.f_mul(&inside.f_unsqueeze(1)?)?)
}

/// Centres of `side` pixels, measured from the middle.
fn centred(side: i64, device: Device) -> Result<Tensor> {
    Ok(Tensor::f_arange(side, (Kind::Float, device))?.f_sub_scalar(0.5 * (side - 1) as f64)?)
}
