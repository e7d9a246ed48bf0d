//! Random brightness, contrast, saturation and hue, in random order: torchvision's `ColorJitter` on float images.

use tch::{Device, Tensor};

use super::color;
use super::rows::{edit_rows, per_sample, rows_with};
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
    settings: schema::ColorJitter,
}

impl ColorJitter {
    /// None where the configuration has none.
    pub fn new(settings: Option<&schema::ColorJitter>) -> Option<Self> {
        settings.filter(|settings| settings.enabled).map(|settings| ColorJitter { settings: settings.clone() })
    }

    /// Factors are uniform in [max(0, 1 - strength), 1 + strength], turns in [-hue, hue]; a change of strength 0 is
    /// left out.
    pub fn draw(&self, draws: &mut Draws) -> Jitter {
        let schema::ColorJitter { brightness, contrast, saturation, hue, .. } = self.settings;
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

/// Values that a CPU changes at once: its caches hold them and what is made on the way.
const CPU_VALUES: i64 = 1 << 17;

/// Changes `images` [N, 3, H, W] in [0, 1] in place.
pub fn apply(images: &mut Tensor, jitters: &[Jitter]) -> Result<()> {
    let (_, channels, height, width) = images.size4()?;
    let on_cpu = images.device() == Device::Cpu;
    let together =
        if on_cpu { (CPU_VALUES / (channels * height * width)).max(1) as usize } else { jitters.len().max(1) };
    for (part, jitters) in jitters.chunks(together).enumerate() {
        let mut images = images.f_narrow(0, (part * together) as i64, jitters.len() as i64)?;
        apply_together(&mut images, jitters)?;
    }
    Ok(())
}

/// All samples do their first change, then all their second, and so on: those with the same kind of change together.
fn apply_together(images: &mut Tensor, jitters: &[Jitter]) -> Result<()> {
    let (kind, device) = (images.kind(), images.device());
    for turn in 0..jitters.iter().map(Vec::len).max().unwrap_or(0) {
        let with = |pick: fn(&Change) -> Option<f64>| rows_with(jitters, |jitter| jitter.get(turn).and_then(pick));
        let column = |values: &[f64]| per_sample(values, kind, device);
        let rests = |factors: &[f64]| column(&factors.iter().map(|factor| 1.0 - factor).collect::<Vec<_>>());

        let (rows, factors) = with(|change| if let Change::Brightness(factor) = change { Some(*factor) } else { None });
        edit_rows(images, &rows, |images| Ok(images.f_mul(&column(&factors)?)?.f_clamp_(0.0, 1.0)?))?;
        let (rows, factors) = with(|change| if let Change::Contrast(factor) = change { Some(*factor) } else { None });
        edit_rows(images, &rows, |images| {
            color::blend(images, &color::mean_grey(images)?, &column(&factors)?, &rests(&factors)?, 1.0)
        })?;
        let (rows, factors) = with(|change| if let Change::Saturation(factor) = change { Some(*factor) } else { None });
        edit_rows(images, &rows, |images| {
            color::blend(images, &color::grey(images)?, &column(&factors)?, &rests(&factors)?, 1.0)
        })?;
        let (rows, turns) = with(|change| if let Change::Hue(turns) = change { Some(*turns) } else { None });
        edit_rows(images, &rows, |images| color::turn_hue(images, &column(&turns)?))?;
    }
    Ok(())
}
