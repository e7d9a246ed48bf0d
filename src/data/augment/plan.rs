//! The random draws of a batch.

use super::color_jitter::Jitter;
use super::erasing::Erasure;
use super::randaugment::Op;
use super::resize::Cutout;
use super::window::Window;

/// The random draws of a batch: for each transform a list of N, or an empty list if it is off.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct AugmentPlan {
    /// Padded crop and flip.
    pub windows: Vec<Window>,
    /// Resized crop and flip.
    pub cutouts: Vec<Cutout>,
    /// RandAugment: the operations of each sample, in order.
    pub ops: Vec<Vec<Op>>,
    /// Colour jitter.
    pub jitters: Vec<Jitter>,
    /// Random erasing; `None` for a sample that stays as it is.
    pub erasures: Vec<Option<Erasure>>,
}
