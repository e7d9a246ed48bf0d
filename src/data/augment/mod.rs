//! Pixels to network input, whole batches on their device.
//!
//! | | training | evaluation |
//! | --- | --- | --- |
//! | place | pad, random crop, flip ([`window`]) | |
//! | or with `imagenet_resize` | random box resized, flip ([`resize`]) | short side resized, middle |
//! | uint8 | RandAugment ([`randaugment`]) | |
//! | float | colour jitter ([`color_jitter`]), random erasing ([`erasing`]) | |
//! | | normalise | normalise |
//!
//! Semantics are torchvision v2's. What is random is drawn first, sample by sample, into a [`Plan`]; applying a plan is
//! arithmetic on tensors without a loop over images (but for colour jitter on a CPU). A sample's draws depend only on
//! the stream (seed and purpose), the epoch and the sample's index in the data set, so neither batch nor rank changes
//! them. Each transform has a lane of the stream for itself: switching one on does not change what the others draw.
//!
//! Letters: N batch, C channel, H and W input sides, S side of the output.

mod affine;
mod color;
pub mod color_jitter;
pub mod erasing;
pub mod randaugment;
pub mod resize;
mod rows;
pub mod tables;
pub mod window;

use tch::{Kind, Tensor};

use super::source::Images;
use crate::config::schema::{NormalizeConfig, TransformsConfig};
use crate::error::Result;
use crate::random::SampleKeys;
use crate::torch::to_channels_last;

use color_jitter::{ColorJitter, Jitter};
use erasing::{Erasure, RandomErasing};
use randaugment::{Op, RandAugment};
use resize::{Cutout, Resize};
use window::{CropFlip, Window};

/// Which pipeline a batch goes through.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum View {
    /// All transforms, the random ones included.
    Train,
    /// The same image each time.
    Eval,
}

/// Height and width of network input, in training and in evaluation, for a data set of `stored` images.
pub fn input_sizes(transforms: &TransformsConfig, stored: &Images) -> [(i64, i64); 2] {
    let resize = &transforms.imagenet_resize;
    if resize.enabled {
        return [resize.train_size, resize.eval_crop].map(|side| (side, side));
    }
    let stored = (stored.height as i64, stored.width as i64);
    let crop = &transforms.random_crop;
    [if crop.enabled { (crop.size, crop.size) } else { stored }, stored]
}

/// Lanes of the stream.
const PLACE: u8 = 0;
const RANDAUGMENT: u8 = 1;
const COLOR_JITTER: u8 = 2;
const ERASING: u8 = 3;

/// What happens to each sample of a batch: lists of N, or empty where nothing does.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Plan {
    pub windows: Vec<Window>,
    pub cutouts: Vec<Cutout>,
    pub ops: Vec<Vec<Op>>,
    pub jitters: Vec<Jitter>,
    pub erasures: Vec<Option<Erasure>>,
}

/// What decides which pixels of the stored image are seen.
enum Place {
    Whole,
    Window(CropFlip),
    Resized(Resize),
}

/// The transforms of one data set, ready to run.
pub struct Augment {
    place: Place,
    randaugment: Option<RandAugment>,
    color_jitter: Option<ColorJitter>,
    erasing: Option<RandomErasing>,
    mean: Tensor,
    std: Tensor,
    kind: Kind,
}

impl Augment {
    /// `height` and `width` of the stored images of three channels; output in `kind` on `device`.
    ///
    /// # Errors
    /// A crop larger than the padded image.
    pub fn new(
        transforms: &TransformsConfig,
        (height, width): (usize, usize),
        kind: Kind,
        device: tch::Device,
    ) -> Result<Self> {
        let stored = (height as i64, width as i64);
        let resize = &transforms.imagenet_resize;
        let place = match CropFlip::new(transforms, stored) {
            _ if resize.enabled => Place::Resized(Resize::new(transforms, stored)),
            window => window?.map_or(Place::Whole, Place::Window),
        };
        let (height, width) = match &place {
            Place::Whole => stored,
            Place::Window(window) => window.size(),
            Place::Resized(resize) => (resize.train_size(), resize.train_size()),
        };
        let NormalizeConfig { mean, std } = if resize.enabled { &resize.normalize } else { &transforms.normalize };
        let per_channel =
            |values: &[f64]| Tensor::from_slice(values).view([1, -1, 1, 1]).to_device(device).to_kind(kind);
        Ok(Augment {
            place,
            randaugment: RandAugment::new(transforms.randaugment.as_ref(), (height, width))?,
            color_jitter: ColorJitter::new(transforms.color_jitter.as_ref()),
            erasing: RandomErasing::new(transforms.random_erasing.as_ref(), [mean.len() as i64, height, width]),
            mean: per_channel(mean),
            std: per_channel(std),
            kind,
        })
    }

    /// What a black and what a white pixel are normalised to, [1, C, 1, 1] each.
    pub fn bounds(&self) -> (Tensor, Tensor) {
        (-&self.mean / &self.std, (1.0 - &self.mean) / &self.std)
    }

    /// uint8 [N, C, H, W] to normalised [N, C, S, S] (without `imagenet_resize` [N, C, H, W]), channels-last.
    pub fn eval(&self, pixels: &Tensor) -> Result<Tensor> {
        match &self.place {
            Place::Resized(resize) => self.normalise(&resize.eval(pixels)?),
            Place::Whole | Place::Window(_) => self.normalise(pixels),
        }
    }

    /// uint8 [N, C, H, W] to normalised [N, C, S, S], channels-last, by the draws of `keys`.
    pub fn train(&self, pixels: &Tensor, keys: &SampleKeys<'_>) -> Result<Tensor> {
        self.apply(pixels, &self.plan(keys))
    }

    /// The draws of these samples.
    pub fn plan(&self, keys: &SampleKeys<'_>) -> Plan {
        let mut plan = Plan::default();
        match &self.place {
            Place::Whole => {}
            Place::Window(window) => plan.windows = keys.draw(PLACE, |draws| window.draw(draws)),
            Place::Resized(resize) => plan.cutouts = keys.draw(PLACE, |draws| resize.draw(draws)),
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

    /// uint8 [N, C, H, W] to normalised [N, C, S, S], channels-last, as `plan` says.
    pub fn apply(&self, pixels: &Tensor, plan: &Plan) -> Result<Tensor> {
        let pixels = match &self.place {
            Place::Whole => pixels.shallow_clone(),
            Place::Window(window) => window.apply(pixels, &plan.windows)?,
            Place::Resized(resize) => resize.train(pixels, &plan.cutouts)?,
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
        // Times 1/255, not divided by 255: torchvision's last bit.
        Ok(pixels.f_to_kind(self.kind)?.f_mul_scalar_(1.0 / 255.0)?)
    }

    /// Subtracts the mean, divides by the spread, in place; `images` are channels-last.
    fn standardise(&self, images: &Tensor) -> Result<Tensor> {
        let (n, channels, height, width) = images.size4()?;
        // Whole rows of pixels at once: several times quicker than three values at a time.
        let along_row = |values: &Tensor| values.f_view([channels])?.f_repeat([width]);
        let mut rows = images.f_permute([0, 2, 3, 1])?.f_view([n, height, width * channels])?;
        let rows = rows.f_sub_(&along_row(&self.mean)?)?.f_div_(&along_row(&self.std)?)?;
        Ok(rows.f_view([n, height, width, channels])?.f_permute([0, 3, 1, 2])?)
    }

    fn normalise(&self, pixels: &Tensor) -> Result<Tensor> {
        self.standardise(&self.to_float(&to_channels_last(pixels)?)?)
    }
}
