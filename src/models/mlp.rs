//! The two fully connected layers of a transformer block.

use tch::Tensor;

use super::forward::Forward;
use super::init::Init;
use super::layout::LayoutBuilder;
use super::linear::Linear;
use crate::error::Result;

/// linear(gelu(linear(x))), with the exact GELU (Hendrycks and Gimpel 2016, arXiv 1606.08415).
///
/// The layers are named `0` and `3` as in torchvision, which has dropout between them. Its probability is 0 in all
/// networks of this crate, so the layer is left out.
#[derive(Debug)]
pub struct Mlp {
    widen: Linear,
    narrow: Linear,
}

impl Mlp {
    /// `init` maps the numbers of inputs and outputs of a layer to the distributions of its weight and bias.
    pub fn new(builder: &mut LayoutBuilder, width: i64, hidden: i64, init: impl Fn(i64, i64) -> (Init, Init)) -> Self {
        let mut linear = |name: &str, inputs: i64, outputs: i64| {
            let (weight, bias) = init(inputs, outputs);
            builder.scope(name, |builder| Linear::with_init(builder, [inputs, outputs], weight, Some(bias)))
        };
        Mlp { widen: linear("0", width, hidden), narrow: linear("3", hidden, width) }
    }

    /// Maps (N, ..., width) to the same shape.
    pub fn forward(&self, ctx: &Forward<'_>, x: &Tensor) -> Result<Tensor> {
        let mut hidden = self.widen.forward(ctx, x)?;
        // The derivative of GELU needs its input, so it runs in place only without gradients.
        let hidden = if hidden.requires_grad() { hidden.f_gelu("none")? } else { hidden.f_gelu_("none")? };
        self.narrow.forward(ctx, &hidden)
    }
}
