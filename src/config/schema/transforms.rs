//! `data.transforms`: preparation and augmentation of images.

use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, Error, Unexpected, Visitor};

/// The transforms of a data set. Those that are off or null are left out.
#[derive(Debug, Clone, Deserialize)]
pub struct TransformsConfig {
    pub normalize: NormalizeConfig,
    pub random_crop: RandomCropConfig,
    pub horizontal_flip: HorizontalFlipConfig,
    pub imagenet_resize: ImagenetResizeConfig,
    pub color_jitter: Option<ColorJitterConfig>,
    pub randaugment: Option<RandAugmentConfig>,
    pub random_erasing: Option<RandomErasingConfig>,
}

/// Statistics of each channel, for pixels in [0, 1].
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct NormalizeConfig {
    pub mean: Vec<f64>,
    pub std: Vec<f64>,
}

/// A random square of `size` pixels (null: a window as large as the image), after `padding` zeros on each side.
#[derive(Debug, Clone, Deserialize)]
pub struct RandomCropConfig {
    pub enabled: bool,
    pub size: Option<i64>,
    pub padding: i64,
}

impl RandomCropConfig {
    /// Height and width of the window, for images of this height and width.
    pub fn window(&self, (height, width): (i64, i64)) -> (i64, i64) {
        self.size.map_or((height, width), |size| (size, size))
    }
}

/// A horizontal flip with probability `p`.
#[derive(Debug, Clone, Deserialize)]
pub struct HorizontalFlipConfig {
    pub enabled: bool,
    pub p: f64,
}

/// Resizing as for ImageNet networks, in pixels: a random box to `train_size` in training; the short side to
/// `eval_resize` and the middle `eval_crop` in evaluation. Has a normalisation of its own.
#[derive(Debug, Clone, Deserialize)]
pub struct ImagenetResizeConfig {
    pub enabled: bool,
    pub train_size: i64,
    pub eval_resize: i64,
    pub eval_crop: i64,
    pub normalize: NormalizeConfig,
}

/// Colour jitter: the strength of each change. Hue is in turns of the colour circle, from 0 to 0.5.
#[derive(Debug, Clone, Deserialize)]
pub struct ColorJitterConfig {
    pub enabled: bool,
    pub brightness: f64,
    pub contrast: f64,
    pub saturation: f64,
    pub hue: f64,
}

/// RandAugment: `num_ops` operations of strength `magnitude`, out of `num_magnitude_bins` strengths.
#[derive(Debug, Clone, Deserialize)]
pub struct RandAugmentConfig {
    pub enabled: bool,
    pub num_ops: i64,
    pub magnitude: i64,
    pub num_magnitude_bins: i64,
}

/// Random erasing with probability `p`: the ranges of the erased fraction of the area, and of height over width.
#[derive(Debug, Clone, Deserialize)]
pub struct RandomErasingConfig {
    pub enabled: bool,
    pub p: f64,
    pub scale: Vec<f64>,
    pub ratio: Vec<f64>,
    pub value: ErasingValue,
}

/// The new values of erased pixels.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum ErasingValue {
    /// This number for all.
    Number(f64),
    /// `random`: standard normal noise.
    Random,
}

impl<'de> Deserialize<'de> for ErasingValue {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ErasingValueVisitor)
    }
}

struct ErasingValueVisitor;

impl Visitor<'_> for ErasingValueVisitor {
    type Value = ErasingValue;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("a number or `random`")
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<ErasingValue, E> {
        Ok(ErasingValue::Number(value as f64))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<ErasingValue, E> {
        if value.is_finite() {
            Ok(ErasingValue::Number(value))
        } else {
            Err(E::invalid_value(Unexpected::Float(value), &self))
        }
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<ErasingValue, E> {
        match text {
            "random" => Ok(ErasingValue::Random),
            _ => Err(E::invalid_value(Unexpected::Str(text), &self)),
        }
    }
}
