//! Patch embedding: cuts an image into patches and makes a token of each. It is a convolution whose stride equals its
//! kernel.

use tch::Tensor;

use super::forward::Forward;
use super::init::Init;
use super::layer_pass::Layer;
use super::layout::{LayoutBuilder, Slot};
use crate::error::Result;
use crate::torch;

/// Patch embedding with weight (C, 3, side, side) and bias (C).
#[derive(Debug)]
pub struct Patches {
    weight: Slot,
    bias: Slot,
    side: i64,
}

impl Patches {
    /// `channels` is the number of channels of a token, `side` the side of a patch in pixels.
    pub fn new(builder: &mut LayoutBuilder, channels: i64, side: i64, weight: Init, bias: Init) -> Self {
        Patches {
            weight: builder.parameter("weight", &[channels, 3, side, side], weight),
            bias: builder.parameter("bias", &[channels], bias),
            side,
        }
    }

    /// Number of values in a patch of `side` x `side` pixels.
    pub fn inputs(side: i64) -> i64 {
        3 * side * side
    }

    /// Maps (N, 3, H, W) to (N, H / side, W / side, C), rounded down. Pixels beyond the last whole patch are ignored.
    pub fn forward(&self, ctx: &Forward<'_>, images: &Tensor) -> Result<Tensor> {
        let Patches { weight, bias, side } = *self;
        let images = torch::to_channels_last(images)?;
        let y = images.f_conv2d(ctx.weight(weight), Some(ctx.weight(bias)), side, 0, 1, 1)?;
        let y = ctx.record_layer(Layer::Patches { weight, bias, side }, &images, y)?;
        Ok(y.f_permute([0, 2, 3, 1])?)
    }
}
