//! Layer normalization (Ba, Kiros, Hinton 2016, arXiv 1607.06450).

use tch::Tensor;

use super::forward::Forward;
use super::init::Init;
use super::layer_pass::Layer;
use super::layout::{LayoutBuilder, Slot};
use crate::error::Result;

/// Normalises each position of (N, ..., C) by the mean and the biased variance of its channels, then scales by `weight`
/// and shifts by `bias`.
#[derive(Debug)]
pub struct LayerNorm {
    weight: Slot,
    bias: Slot,
    channels: i64,
    /// Added to the variance.
    eps: f64,
}

impl LayerNorm {
    pub fn new(builder: &mut LayoutBuilder, channels: i64, eps: f64) -> Self {
        LayerNorm {
            weight: builder.parameter("weight", &[channels], Init::Constant(1.0)),
            bias: builder.parameter("bias", &[channels], Init::Constant(0.0)),
            channels,
            eps,
        }
    }

    /// Maps (N, ..., C) to the same shape.
    pub fn forward(&self, ctx: &Forward<'_>, x: &Tensor) -> Result<Tensor> {
        let LayerNorm { weight, bias, channels, eps } = *self;
        let y = x.f_layer_norm([channels], Some(ctx.weight(weight)), Some(ctx.weight(bias)), eps, true)?;
        ctx.record_layer(Layer::LayerNorm { weight, bias, eps }, x, y)
    }
}
