//! The random changes of colour jitter.

use crate::config::schema::ColorJitterConfig;
use crate::random::Draws;

/// A change of colour with its factor. For hue it is the number of turns of the colour circle.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum ColorChange {
    Brightness(f64),
    Contrast(f64),
    Saturation(f64),
    Hue(f64),
}

/// The changes of one sample, in order.
pub type Jitter = Vec<ColorChange>;

/// The colour jitter of one configuration.
#[derive(Debug, Clone)]
pub struct ColorJitter {
    settings: ColorJitterConfig,
}

impl ColorJitter {
    /// `None` if the configuration has no colour jitter.
    pub fn new(settings: Option<&ColorJitterConfig>) -> Option<Self> {
        settings.filter(|settings| settings.enabled).map(|settings| ColorJitter { settings: settings.clone() })
    }

    /// Draws the changes of one sample. Factors are uniform in [max(0, 1 - strength), 1 + strength], turns in
    /// [-hue, hue]. Changes of strength 0 are left out.
    pub fn draw(&self, draws: &mut Draws) -> Jitter {
        let ColorJitterConfig { brightness, contrast, saturation, hue, .. } = self.settings;
        let mut factor = |strength: f64| draws.between((1.0 - strength).max(0.0), 1.0 + strength);
        let mut jitter = vec![
            (brightness, ColorChange::Brightness(factor(brightness))),
            (contrast, ColorChange::Contrast(factor(contrast))),
            (saturation, ColorChange::Saturation(factor(saturation))),
            (hue, ColorChange::Hue(draws.between(-hue, hue))),
        ];
        draws.shuffle(&mut jitter);
        jitter.into_iter().filter(|(strength, _)| *strength > 0.0).map(|(_, change)| change).collect()
    }
}
