//! Applies colour jitter on the device of the images.

use tch::{Device, Kind, Tensor};

use super::change::Jitter;
use super::{host, tensor};
use crate::error::Result;

/// Changes `images` [N, 3, H, W] in [0, 1] in place, sample i by `jitters[i]`.
pub fn apply(images: &mut Tensor, jitters: &[Jitter]) -> Result<()> {
    match (images.device(), images.f_kind()?) {
        (Device::Cpu, Kind::Float | Kind::Double) => host::apply(images, jitters),
        _ => tensor::apply(images, jitters),
    }
}
