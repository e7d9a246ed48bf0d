//! Fully connected layer.

use tch::Tensor;

use super::forward::Forward;
use super::init::Init;
use super::layout::{Builder, Slot};
use super::per_sample::Layer;
use crate::error::Result;

/// x W^T + b, weight (out, in), bias (out).
#[derive(Debug)]
pub struct Linear {
    weight: Slot,
    bias: Slot,
}

impl Linear {
    pub fn new(builder: &mut Builder, inputs: i64, outputs: i64) -> Self {
        Linear {
            weight: builder.parameter("weight", &[outputs, inputs], Init::linear(inputs)),
            bias: builder.parameter("bias", &[outputs], Init::linear(inputs)),
        }
    }

    pub fn slots(&self) -> [Slot; 2] {
        [self.weight, self.bias]
    }

    /// (N, in) to (N, out).
    pub fn forward(&self, ctx: &Forward<'_>, x: &Tensor) -> Result<Tensor> {
        let y = x.f_linear(ctx.weight(self.weight), Some(ctx.weight(self.bias)))?;
        ctx.passed(Layer::Linear { weight: self.weight, bias: self.bias }, x, y)
    }
}
