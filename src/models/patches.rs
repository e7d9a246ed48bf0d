//! Cutting an image into patches, each of which becomes a token: a convolution whose stride is its kernel.

use tch::Tensor;

use super::forward::Forward;
use super::init::Init;
use super::layout::{Builder, Slot};
use super::per_sample::Layer;
use crate::error::Result;
use crate::torch;

/// Weight (C, 3, side, side), bias (C).
#[derive(Debug)]
pub struct Patches {
    weight: Slot,
    bias: Slot,
    side: i64,
}

impl Patches {
    /// `channels` of a token, `side` of a patch in pixels.
    pub fn new(builder: &mut Builder, channels: i64, side: i64, weight: Init, bias: Init) -> Self {
        Patches {
            weight: builder.parameter("weight", &[channels, 3, side, side], weight),
            bias: builder.parameter("bias", &[channels], bias),
            side,
        }
    }

    /// Values that a token is made from.
    pub fn inputs(side: i64) -> i64 {
        3 * side * side
    }

    /// (N, 3, H, W) to (N, H / side, W / side, C), rounded down: pixels beyond the last whole patch are not seen.
    pub fn forward(&self, ctx: &Forward<'_>, images: &Tensor) -> Result<Tensor> {
        let Patches { weight, bias, side } = *self;
        let images = torch::to_channels_last(images)?;
        let y = images.f_conv2d(ctx.weight(weight), Some(ctx.weight(bias)), side, 0, 1, 1)?;
        let y = ctx.passed(Layer::Patches { weight, bias, side }, &images, y)?;
        Ok(y.f_permute([0, 2, 3, 1])?)
    }
}
