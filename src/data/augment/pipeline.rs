//! The transforms of a data set, one after the other.

use tch::{Device, Kind, Tensor};

use super::color_jitter::{self, ColorJitter};
use super::erasing::{self, RandomErasing};
use super::plan::AugmentPlan;
use super::randaugment::{self, RandAugment};
use super::resize::Resize;
use super::window::CropFlip;
use crate::config::schema::{NormalizeConfig, TransformsConfig};
use crate::error::Result;
use crate::random::SampleKeys;
use crate::torch::to_channels_last;

/// Lanes of the random stream, one for each transform.
const GEOMETRY: u8 = 0;
const RANDAUGMENT: u8 = 1;
const COLOR_JITTER: u8 = 2;
const ERASING: u8 = 3;

/// Chooses the pixels of the stored image that are used.
enum Geometry {
    /// All pixels, in training and evaluation.
    Whole,
    /// A random window in training, all pixels in evaluation.
    Window(CropFlip),
    /// A random box in training and the middle in evaluation, both resized.
    Resized(Resize),
}

/// The transforms of one data set, ready to run.
pub struct Augment {
    geometry: Geometry,
    randaugment: Option<RandAugment>,
    color_jitter: Option<ColorJitter>,
    erasing: Option<RandomErasing>,
    mean: Tensor,
    std: Tensor,
    kind: Kind,
}

impl Augment {
    /// The transforms for stored images of three channels with this (height, width). The output has the dtype `kind`
    /// and is on `device`.
    ///
    /// # Errors
    /// `Usage` if the crop is larger than the padded image.
    pub fn new(
        transforms: &TransformsConfig,
        (height, width): (usize, usize),
        kind: Kind,
        device: Device,
    ) -> Result<Self> {
        let stored = (height as i64, width as i64);
        let resize = &transforms.imagenet_resize;
        let geometry = match CropFlip::new(transforms, stored) {
            _ if resize.enabled => Geometry::Resized(Resize::new(transforms, stored)),
            window => window?.map_or(Geometry::Whole, Geometry::Window),
        };
        let (height, width) = match &geometry {
            Geometry::Whole => stored,
            Geometry::Window(window) => window.size(),
            Geometry::Resized(resize) => (resize.train_size(), resize.train_size()),
        };
        let NormalizeConfig { mean, std } = if resize.enabled { &resize.normalize } else { &transforms.normalize };
        let per_channel =
            |values: &[f64]| Tensor::from_slice(values).view([1, -1, 1, 1]).to_device(device).to_kind(kind);
        Ok(Augment {
            geometry,
            randaugment: RandAugment::new(transforms.randaugment.as_ref(), (height, width))?,
            color_jitter: ColorJitter::new(transforms.color_jitter.as_ref()),
            erasing: RandomErasing::new(transforms.random_erasing.as_ref(), [mean.len() as i64, height, width]),
            mean: per_channel(mean),
            std: per_channel(std),
            kind,
        })
    }

    /// The normalised values of a black and of a white pixel, [1, C, 1, 1] each.
    pub fn bounds(&self) -> (Tensor, Tensor) {
        (-&self.mean / &self.std, (1.0 - &self.mean) / &self.std)
    }

    /// uint8 [N, C, H, W] to normalised [N, C, S, S] (without `imagenet_resize` [N, C, H, W]), channels-last.
    pub fn eval(&self, pixels: &Tensor) -> Result<Tensor> {
        match &self.geometry {
            Geometry::Resized(resize) => self.normalise(&resize.eval(pixels)?),
            Geometry::Whole | Geometry::Window(_) => self.normalise(pixels),
        }
    }

    /// uint8 [N, C, H, W] to normalised [N, C, S, S], channels-last, with random draws from `keys`.
    pub fn train(&self, pixels: &Tensor, keys: &SampleKeys<'_>) -> Result<Tensor> {
        self.apply(pixels, &self.plan(keys))
    }

    /// The random draws of the samples of `keys`.
    pub fn plan(&self, keys: &SampleKeys<'_>) -> AugmentPlan {
        let mut plan = AugmentPlan::default();
        match &self.geometry {
            Geometry::Whole => {}
            Geometry::Window(window) => plan.windows = keys.draw(GEOMETRY, |draws| window.draw(draws)),
            Geometry::Resized(resize) => plan.cutouts = keys.draw(GEOMETRY, |draws| resize.draw(draws)),
        }
        if let Some(randaugment) = &self.randaugment {
            plan.ops = keys.draw(RANDAUGMENT, |draws| randaugment.draw(draws));
        }
        if let Some(jitter) = &self.color_jitter {
            plan.jitters = keys.draw(COLOR_JITTER, |draws| jitter.draw(draws));
        }
        if let Some(erasing) = &self.erasing {
            plan.erasures = keys.draw(ERASING, |draws| erasing.draw(draws));
        }
        plan
    }

    /// uint8 [N, C, H, W] to normalised [N, C, S, S], channels-last, with the draws of `plan`.
    pub fn apply(&self, pixels: &Tensor, plan: &AugmentPlan) -> Result<Tensor> {
        let pixels = match &self.geometry {
            Geometry::Whole => pixels.shallow_clone(),
            Geometry::Window(window) => window.apply(pixels, &plan.windows)?,
            Geometry::Resized(resize) => resize.train(pixels, &plan.cutouts)?,
        };
        let pixels = randaugment::apply(pixels, &plan.ops)?;
        if plan.jitters.is_empty() && plan.erasures.is_empty() {
            return self.normalise(&pixels);
        }
        let mut images = self.to_float(&pixels)?;
        color_jitter::apply(&mut images, &plan.jitters)?;
        erasing::apply(&mut images, &plan.erasures)?;
        self.standardise(&to_channels_last(&images)?)
    }

    /// uint8 to [0, 1].
    fn to_float(&self, pixels: &Tensor) -> Result<Tensor> {
        // Multiplying by 1/255 gives the same bits as torchvision; dividing by 255 does not.
        Ok(pixels.f_to_kind(self.kind)?.f_mul_scalar_(1.0 / 255.0)?)
    }

    /// Subtracts the mean and divides by the standard deviation, in place. `images` are channels-last.
    fn standardise(&self, images: &Tensor) -> Result<Tensor> {
        let (n, channels, height, width) = images.size4()?;
        // Whole rows of pixels at once: several times faster than three values at a time.
        let along_row = |values: &Tensor| values.f_view([channels])?.f_repeat([width]);
        let mut rows = images.f_permute([0, 2, 3, 1])?.f_view([n, height, width * channels])?;
        let rows = rows.f_sub_(&along_row(&self.mean)?)?.f_div_(&along_row(&self.std)?)?;
        Ok(rows.f_view([n, height, width, channels])?.f_permute([0, 3, 1, 2])?)
    }

    /// uint8 to normalised, channels-last.
    fn normalise(&self, pixels: &Tensor) -> Result<Tensor> {
        self.standardise(&self.to_float(&to_channels_last(pixels)?)?)
    }
}
