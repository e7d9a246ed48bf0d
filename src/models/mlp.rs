//! The two fully connected layers of a transformer block.

use tch::Tensor;

use super::forward::Forward;
use super::init::Init;
use super::layout::Builder;
use super::linear::Linear;
use crate::error::Result;

/// linear(gelu(linear(x))), the exact GELU (Hendrycks and Gimpel 2016, arXiv 1606.08415). Registered as `0` and `3`,
/// torchvision's names: its dropout in between never drops in the networks that are built here.
#[derive(Debug)]
pub struct Mlp {
    widen: Linear,
    narrow: Linear,
}

impl Mlp {
    /// `init` gives the distributions of weights (of these inputs and outputs) and biases.
    pub fn new(builder: &mut Builder, width: i64, hidden: i64, init: impl Fn(i64, i64) -> (Init, Init)) -> Self {
        let mut linear = |name: &str, inputs: i64, outputs: i64| {
            let (weight, bias) = init(inputs, outputs);
            builder.scope(name, |builder| Linear::with_init(builder, [inputs, outputs], weight, Some(bias)))
        };
        Mlp { widen: linear("0", width, hidden), narrow: linear("3", hidden, width) }
    }

    /// (N, ..., width) to the same shape.
    pub fn forward(&self, ctx: &Forward<'_>, x: &Tensor) -> Result<Tensor> {
        let mut hidden = self.widen.forward(ctx, x)?;
        // Its derivative needs the input: in place only where there will be none.
        let hidden = if hidden.requires_grad() { hidden.f_gelu("none")? } else { hidden.f_gelu_("none")? };
        self.narrow.forward(ctx, &hidden)
    }
}
