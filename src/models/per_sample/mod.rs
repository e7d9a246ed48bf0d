//! Squared gradients of single samples, summed over a batch, from what a layer was given and the gradient of what it
//! made of it.
//!
//! In evaluation mode no sample of a batch sees another one. So the gradient of the summed loss with respect to a
//! layer's output holds the gradients of all samples side by side, and one backward pass serves a whole batch; only the
//! last step, to the weights, is taken for each sample. It is exact. Layers are recorded by
//! [`Forward::with_layer_hooks`](super::forward::Forward::with_layer_hooks).
//!
//! Letters: N batch, I and O input and output channels, H and W height and width, L output positions, k kernel; X is the
//! input of a layer, G the gradient with respect to its output.

mod conv;
mod tokens;

use tch::{Kind, Tensor};

use super::layout::Slot;
use super::norm::EPS;
use crate::error::Result;

/// A tile of single-sample gradients has at most so many elements: it is squared and added while it is in a core's cache.
const TILE: i64 = 1 << 18;

/// A layer with parameters.
#[derive(Debug, Clone, Copy)]
pub enum Layer {
    /// Square kernel, no bias, padding (k - 1) / 2.
    Conv { weight: Slot, kernel: i64, stride: i64 },
    /// BatchNorm with running statistics: an affine map per channel.
    Norm { weight: Slot, bias: Slot, running_mean: Slot, running_var: Slot },
    /// On vectors (N, I) or at each position of (N, ..., I).
    Linear { weight: Slot, bias: Option<Slot> },
    /// On the channels of each position of (N, ..., C).
    LayerNorm { weight: Slot, bias: Slot, eps: f64 },
    /// A convolution of images whose stride is its kernel.
    Patches { weight: Slot, bias: Slot, side: i64 },
    /// A learned summand of shape (1, ...), the same for all samples.
    Summand { parameter: Slot },
    /// A learned summand of attention scores (N, W, h, L, L), looked up in a table (positions, h) by L x L indices.
    ScoreTable { table: Slot, index: Slot },
}

/// One pass through a layer.
#[derive(Debug)]
pub struct LayerPass {
    pub layer: Layer,
    pub input: Tensor,
    /// Part of the autograd graph; nothing changes it in place.
    pub output: Tensor,
}

impl LayerPass {
    /// For each parameter of the layer: the sum over the samples of the squared gradient of the sample's loss.
    /// `gradient` is that of the summed loss with respect to the output, `weights` those of the forward pass.
    pub fn squared_gradients(&self, gradient: &Tensor, weights: &[Tensor]) -> Result<Vec<(Slot, Tensor)>> {
        let (x, g) = (self.input.f_detach()?, gradient.f_detach()?);
        match self.layer {
            Layer::Conv { weight, kernel, stride } => Ok(vec![(weight, conv::squares(&x, &g, kernel, stride)?)]),
            Layer::Norm { weight, bias, running_mean, running_var } => {
                let centred = x.f_sub(&weights[running_mean.index()].f_view([1, -1, 1, 1])?)?;
                let var = weights[running_var.index()].f_add_scalar(EPS)?;
                // Over positions first: one gradient for each sample, [N, C].
                let by_weight = sum(&centred.f_mul(&g)?, &[2, 3])?.f_square()?;
                let by_bias = sum(&g, &[2, 3])?.f_square()?;
                Ok(vec![(weight, sum(&by_weight, &[0])?.f_div(&var)?), (bias, sum(&by_bias, &[0])?)])
            }
            Layer::Linear { weight, bias } => {
                let (by_weight, by_bias) = tokens::linear(&x, &g)?;
                Ok([Some((weight, by_weight)), bias.map(|bias| (bias, by_bias))].into_iter().flatten().collect())
            }
            Layer::LayerNorm { weight, bias, eps } => {
                let (by_weight, by_bias) = tokens::layer_norm(&x, &g, eps)?;
                Ok(vec![(weight, by_weight), (bias, by_bias)])
            }
            Layer::Patches { weight, bias, side } => {
                let (by_weight, by_bias) = tokens::patches(&x, &g, side)?;
                Ok(vec![(weight, by_weight), (bias, by_bias)])
            }
            Layer::Summand { parameter } => {
                Ok(vec![(parameter, g.f_square()?.f_sum_dim_intlist(0, true, None::<Kind>)?)])
            }
            Layer::ScoreTable { table, index } => {
                let ((positions, heads), index) = (weights[table.index()].size2()?, &weights[index.index()]);
                Ok(vec![(table, tokens::score_table(&g, index, [positions, heads])?)])
            }
        }
    }
}

fn sum(tensor: &Tensor, dims: &[i64]) -> Result<Tensor> {
    Ok(tensor.f_sum_dim_intlist(dims, false, None::<Kind>)?)
}

/// Sum over n of the squares of g[n]^T x[n]: g [N, L, O], x [N, L, I] to [O, I].
fn squared_products(g: &Tensor, x: &Tensor) -> Result<Tensor> {
    let (n, outputs, inputs) = (g.size()[0], g.size()[2], x.size()[2]);
    let options = (x.f_kind()?, x.device());
    let group = (TILE / (outputs * inputs)).clamp(1, n.max(1));
    let tile = Tensor::f_empty([group, outputs, inputs], options)?;
    let mut total = Tensor::f_zeros([outputs, inputs], options)?;
    for start in (0..n).step_by(group as usize) {
        let len = group.min(n - start);
        let (g, x) = (g.f_narrow(0, start, len)?.f_transpose(1, 2)?, x.f_narrow(0, start, len)?);
        let mut products = g.f_bmm_out(&tile.f_narrow(0, 0, len)?, &x)?;
        if len == 1 {
            let product = products.f_squeeze_dim(0)?;
            let _ = total.f_addcmul_(&product, &product)?;
        } else {
            let _ = total.f_add_(&sum(&products.f_square_()?, &[0])?)?;
        }
    }
    Ok(total)
}

/// [N, C, H, W] to [N, H, W, C], a view.
fn channels_last(x: &Tensor) -> Result<Tensor> {
    Ok(x.f_permute([0, 2, 3, 1])?)
}
