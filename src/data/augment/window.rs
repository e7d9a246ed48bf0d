//! Pads, cuts a window out and mirrors it: one gather for the whole batch.
//!
//! torchvision's `RandomCrop(size, padding)` with zeros as padding, then `RandomHorizontalFlip(p)`.

use tch::{Kind, Tensor};

use super::rows::upload;
use crate::config::schema::TransformsConfig;
use crate::error::{Error, Result};
use crate::random::Draws;

/// Position of one sample's window in the padded image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    pub top: i64,
    pub left: i64,
    /// True if the window is mirrored.
    pub flip: bool,
}

/// The crop and flip of one configuration and image size.
#[derive(Debug, Clone, PartialEq)]
pub struct CropFlip {
    /// Zeros on each side.
    padding: i64,
    /// Sides of the window.
    height: i64,
    width: i64,
    /// Largest offset of the window.
    spare_height: i64,
    spare_width: i64,
    flip_probability: f64,
}

/// Probability of the horizontal flip; 0 if it is off.
pub(super) fn flip_probability(transforms: &TransformsConfig) -> f64 {
    let flip = &transforms.horizontal_flip;
    if flip.enabled { flip.p } else { 0.0 }
}

impl CropFlip {
    /// `None` if the configuration neither crops nor flips.
    ///
    /// # Errors
    /// `Usage` if the window is larger than the padded image.
    pub fn new(transforms: &TransformsConfig, (height, width): (i64, i64)) -> Result<Option<Self>> {
        let crop = &transforms.random_crop;
        let flip_probability = flip_probability(transforms);
        if !crop.enabled && flip_probability == 0.0 {
            return Ok(None);
        }
        let padding = if crop.enabled { crop.padding } else { 0 };
        let (out_height, out_width) = if crop.enabled { crop.window((height, width)) } else { (height, width) };
        for (side, out, name) in [(height, out_height, "height"), (width, out_width, "width")] {
            if out > side + 2 * padding {
                return Err(Error::usage(format!(
                    "data.transforms.random_crop.size={out}: larger than the padded image ({name} {side} + 2 x \
                     {padding})",
                ))
                .hint(format!("set data.transforms.random_crop.size={}, or null for the size of the images", side)));
            }
        }
        Ok(Some(CropFlip {
            padding,
            height: out_height,
            width: out_width,
            spare_height: height + 2 * padding - out_height,
            spare_width: width + 2 * padding - out_width,
            flip_probability,
        }))
    }

    /// Height and width of the window.
    pub fn size(&self) -> (i64, i64) {
        (self.height, self.width)
    }

    /// Draws the window of one sample, and whether it is mirrored.
    pub fn draw(&self, draws: &mut Draws) -> Window {
        Window {
            top: draws.below(self.spare_height as u64 + 1) as i64,
            left: draws.below(self.spare_width as u64 + 1) as i64,
            flip: draws.uniform() < self.flip_probability,
        }
    }

    /// uint8 [N, C, H, W] to [N, C, S, S].
    pub fn apply(&self, pixels: &Tensor, windows: &[Window]) -> Result<Tensor> {
        let device = pixels.device();
        let (n, channels) = (windows.len() as i64, pixels.size()[1]);
        let column = |value: fn(&Window) -> i64| -> Result<Tensor> {
            Ok(upload(&windows.iter().map(value).collect::<Vec<_>>(), device)?.f_view([n, 1])?)
        };
        // Rows [N, S] of the input.
        let rows = column(|window| window.top)?.f_add(&Tensor::f_arange(self.height, (Kind::Int64, device))?)?;
        // Column x of the output is column left + x of the input, or left + S - 1 - x if mirrored.
        let direction = column(|window| if window.flip { -1 } else { 1 })?;
        let mirrored = column(|window| i64::from(window.flip))?.f_mul_scalar(self.width - 1)?;
        let first = column(|window| window.left)?.f_add(&mirrored)?;
        let columns = first.f_add(&direction.f_mul(&Tensor::f_arange(self.width, (Kind::Int64, device))?)?)?; // [N, S]
        let padded = pixels.f_constant_pad_nd([self.padding; 4])?;
        let (padded_height, padded_width) = (padded.size()[2], padded.size()[3]);
        let source = rows.f_mul_scalar(padded_width)?.f_unsqueeze(2)?.f_add(&columns.f_unsqueeze(1)?)?; // [N, S, S]
        let area = self.height * self.width;
        // All sizes are given, because n may be 0.
        let source = source.f_view([n, 1, area])?.f_expand([n, channels, area], false)?;
        Ok(padded.f_view([n, channels, padded_height * padded_width])?.f_gather(2, &source, false)?.f_view([
            n,
            channels,
            self.height,
            self.width,
        ])?)
    }
}
