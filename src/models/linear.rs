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
    bias: Option<Slot>,
}

impl Linear {
    /// With PyTorch's initial values.
    pub fn new(builder: &mut Builder, inputs: i64, outputs: i64) -> Self {
        Self::with_init(builder, [inputs, outputs], Init::linear(inputs), Some(Init::linear(inputs)))
    }

    /// `sides` are inputs and outputs; without `bias` there is none.
    pub fn with_init(builder: &mut Builder, sides: [i64; 2], weight: Init, bias: Option<Init>) -> Self {
        Self::named(builder, ["weight", "bias"], sides, weight, bias)
    }

    /// With other names for weight and bias.
    pub fn named(
        builder: &mut Builder,
        names: [&str; 2],
        [inputs, outputs]: [i64; 2],
        weight: Init,
        bias: Option<Init>,
    ) -> Self {
        Linear {
            weight: builder.parameter(names[0], &[outputs, inputs], weight),
            bias: bias.map(|bias| builder.parameter(names[1], &[outputs], bias)),
        }
    }

    pub fn slots(&self) -> Vec<Slot> {
        [Some(self.weight), self.bias].into_iter().flatten().collect()
    }

    /// (N, ..., in) to (N, ..., out).
    pub fn forward(&self, ctx: &Forward<'_>, x: &Tensor) -> Result<Tensor> {
        let y = x.f_linear(ctx.weight(self.weight), self.bias.map(|bias| ctx.weight(bias)))?;
        ctx.passed(Layer::Linear { weight: self.weight, bias: self.bias }, x, y)
    }
}
