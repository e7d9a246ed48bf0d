//! Random brightness, contrast, saturation and hue, in random order: torchvision's `ColorJitter` on float images.

//!
//! A few arithmetic operations per pixel: as operations on tensors they are bound by memory and by their number, which a
//! GPU hides ([`tensor`]) and a CPU does not ([`host`]). Both compute the same, up to rounding.

pub mod host;
pub mod tensor;

use tch::{Device, Kind, Tensor};

use crate::config::schema;
use crate::error::Result;
use crate::random::Draws;

/// A change of colour with its factor (of hue: turns of the colour circle).
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Change {
    Brightness(f64),
    Contrast(f64),
    Saturation(f64),
    Hue(f64),
}

/// One sample's changes, in the order in which they happen.
pub type Jitter = Vec<Change>;

/// The colour jitter of one configuration.
#[derive(Debug, Clone)]
pub struct ColorJitter {
    settings: schema::ColorJitterConfig,
}

impl ColorJitter {
    /// None where the configuration has none.
    pub fn new(settings: Option<&schema::ColorJitterConfig>) -> Option<Self> {
        settings.filter(|settings| settings.enabled).map(|settings| ColorJitter { settings: settings.clone() })
    }

    /// Factors are uniform in [max(0, 1 - strength), 1 + strength], turns in [-hue, hue]; a change of strength 0 is
    /// left out.
    pub fn draw(&self, draws: &mut Draws) -> Jitter {
        let schema::ColorJitterConfig { brightness, contrast, saturation, hue, .. } = self.settings;
        let mut factor = |strength: f64| draws.between((1.0 - strength).max(0.0), 1.0 + strength);
        let mut jitter = vec![
            (brightness, Change::Brightness(factor(brightness))),
            (contrast, Change::Contrast(factor(contrast))),
            (saturation, Change::Saturation(factor(saturation))),
            (hue, Change::Hue(draws.between(-hue, hue))),
        ];
        draws.shuffle(&mut jitter);
        jitter.into_iter().filter(|(strength, _)| *strength > 0.0).map(|(_, change)| change).collect()
    }
}

/// Changes `images` [N, 3, H, W] in [0, 1] in place, sample i by `jitters[i]`.
pub fn apply(images: &mut Tensor, jitters: &[Jitter]) -> Result<()> {
    match (images.device(), images.f_kind()?) {
        (Device::Cpu, Kind::Float | Kind::Double) => host::apply(images, jitters),
        _ => tensor::apply(images, jitters),
    }
}
