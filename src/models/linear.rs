//! Fully connected layer.

use tch::Tensor;

use super::forward::Forward;
use super::init::Init;
use super::layer_pass::Layer;
use super::layout::{LayoutBuilder, Slot};
use crate::error::Result;

/// x W^T + b, with weight (out, in) and bias (out).
#[derive(Debug)]
pub struct Linear {
    weight: Slot,
    bias: Option<Slot>,
}

impl Linear {
    /// A layer with bias and with PyTorch's initial values.
    pub fn new(builder: &mut LayoutBuilder, inputs: i64, outputs: i64) -> Self {
        Self::with_init(builder, [inputs, outputs], Init::linear(inputs), Some(Init::linear(inputs)))
    }

    /// A layer with the given initial values. `features` are the numbers of inputs and outputs. With `bias` None the
    /// layer has no bias.
    pub fn with_init(builder: &mut LayoutBuilder, features: [i64; 2], weight: Init, bias: Option<Init>) -> Self {
        Self::named(builder, ["weight", "bias"], features, weight, bias)
    }

    /// Like [`Linear::with_init`], with other names for weight and bias.
    pub fn named(
        builder: &mut LayoutBuilder,
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

    /// Maps (N, ..., in) to (N, ..., out).
    pub fn forward(&self, ctx: &Forward<'_>, x: &Tensor) -> Result<Tensor> {
        let y = x.f_linear(ctx.weight(self.weight), self.bias.map(|bias| ctx.weight(bias)))?;
        ctx.record_layer(Layer::Linear { weight: self.weight, bias: self.bias }, x, y)
    }
}
