//! The random draws of a batch.

use super::color_jitter::Jitter;
use super::erasing::Erasure;
use super::randaugment::Op;
use super::resize::Cutout;
use super::window::Window;

/// The random draws of a batch: for each transform a list of N, or an empty list if it is off.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct AugmentPlan {
    pub windows: Vec<Window>,
    pub cutouts: Vec<Cutout>,
    pub ops: Vec<Vec<Op>>,
    pub jitters: Vec<Jitter>,
    pub erasures: Vec<Option<Erasure>>,
}
