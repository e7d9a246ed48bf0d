//! Squared gradients of single samples, summed over a batch, from what a layer was given and the gradient of what it
//! made of it.
//!
//! In evaluation mode no sample of a batch sees another one. So the gradient of the summed loss with respect to a
//! layer's output holds the gradients of all samples side by side, and one backward pass serves a whole batch; only the
//! last step, to the weights, is taken for each sample. It is exact. Layers are recorded by
//! [`Forward::recording_layers`](super::forward::Forward::recording_layers).
//!
//! Letters: N batch, I and O input and output channels, H and W height and width, L output positions, k kernel; X is the
//! input of a layer, G the gradient with respect to its output.

use tch::{Kind, Tensor};

use super::layout::Slot;
use super::norm::EPS;
use crate::error::Result;

/// A tile of single-sample gradients has at most so many elements: it is squared and added while it is in a core's cache.
const TILE: i64 = 1 << 18;
/// Below so many input channels the taps of a kernel are worked on together: one by one they are too thin.
const FEW_CHANNELS: i64 = 32;

/// A layer with parameters.
#[derive(Debug, Clone, Copy)]
pub enum Layer {
    /// Square kernel, no bias, padding (k - 1) / 2.
    Conv {
        weight: Slot,
        kernel: i64,
        stride: i64,
    },
    Linear {
        weight: Slot,
        bias: Slot,
    },
    /// BatchNorm with running statistics: an affine map per channel.
    Norm {
        weight: Slot,
        bias: Slot,
        running_mean: Slot,
        running_var: Slot,
    },
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
            Layer::Conv { weight, kernel, stride } => Ok(vec![(weight, conv(&x, &g, kernel, stride)?)]),
            Layer::Linear { weight, bias } => {
                // The gradient of a sample is an outer product, and so is its square.
                let (x2, g2) = (x.f_square()?, g.f_square()?);
                Ok(vec![(weight, g2.f_tr()?.f_matmul(&x2)?), (bias, sum(&g2, &[0])?)])
            }
            Layer::Norm { weight, bias, running_mean, running_var } => {
                let centred = x.f_sub(&weights[running_mean.index()].f_view([1, -1, 1, 1])?)?;
                let var = weights[running_var.index()].f_add_scalar(EPS)?;
                // Over positions first: one gradient for each sample, [N, C].
                let by_weight = sum(&centred.f_mul(&g)?, &[2, 3])?.f_square()?;
                let by_bias = sum(&g, &[2, 3])?.f_square()?;
                Ok(vec![(weight, sum(&by_weight, &[0])?.f_div(&var)?), (bias, sum(&by_bias, &[0])?)])
            }
        }
    }
}

fn sum(tensor: &Tensor, dims: &[i64]) -> Result<Tensor> {
    Ok(tensor.f_sum_dim_intlist(dims, false, None::<Kind>)?)
}

/// X [N, I, H, W] and G [N, O, H', W'] to [O, I, k, k].
///
/// For each tap of the kernel the gradients of all samples are one batched matrix product, G^T X with X shifted by the
/// tap: [N, O, L] x [N, L, I].
fn conv(x: &Tensor, g: &Tensor, kernel: i64, stride: i64) -> Result<Tensor> {
    let taps = kernel * kernel;
    let (outputs, inputs) = (g.size()[1], x.size()[1]);
    let (g, mut shifted) = match stride {
        1 => shifts(x, g, kernel)?,
        _ => strided_shifts(x, g, kernel, stride)?,
    };
    if inputs < FEW_CHANNELS {
        shifted = vec![Tensor::f_cat(&shifted, 2)?]; // [N, L, k k I]
    }
    let sums = shifted.iter().map(|x| squared_products(&g, x)).collect::<Result<Vec<_>>>()?;
    // [O, k k I], the input channels innermost.
    Ok(Tensor::f_cat(&sums, 1)?
        .f_view([outputs, taps, inputs])?
        .f_permute([0, 2, 1])?
        .f_reshape([outputs, inputs, kernel, kernel])?)
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

/// For stride 1: G with its rows padded with zeros to the length of the padded rows of X, [N, L', O], and for each tap
/// a window of X [N, L', I] that lies in one piece. A position beyond the row's end meets a zero of G.
fn shifts(x: &Tensor, g: &Tensor, kernel: i64) -> Result<(Tensor, Vec<Tensor>)> {
    let (n, inputs, height, width) = x.size4()?;
    let outputs = g.size()[1];
    let padding = (kernel - 1) / 2;
    let row = width + 2 * padding;
    // One row more at the bottom: the last window ends beyond the image.
    let x = channels_last(x)?.f_constant_pad_nd([0, 0, padding, padding, padding, padding + i64::from(padding > 0)])?;
    let x = x.f_reshape([n, -1, inputs])?;
    let g = channels_last(g)?.f_constant_pad_nd([0, 0, 0, 2 * padding])?.f_reshape([n, height * row, outputs])?;
    let taps = (0..kernel).flat_map(|y| (0..kernel).map(move |x| y * row + x));
    let windows = taps.map(|start| Ok(x.f_narrow(1, start, height * row)?)).collect::<Result<_>>()?;
    Ok((g, windows))
}

/// For any stride: G [N, L, O], and for each tap the pixels of X that it meets, [N, L, I], copied together.
fn strided_shifts(x: &Tensor, g: &Tensor, kernel: i64, stride: i64) -> Result<(Tensor, Vec<Tensor>)> {
    let (n, outputs, height, width) = g.size4()?;
    let padding = (kernel - 1) / 2;
    let inputs = x.size()[1];
    let x = channels_last(x)?.f_constant_pad_nd([0, 0, padding, padding, padding, padding])?;
    let pixels = |dy: i64, dx: i64| -> Result<Tensor> {
        let rows = x.f_slice(1, dy, dy + stride * (height - 1) + 1, stride)?;
        let pixels = rows.f_slice(2, dx, dx + stride * (width - 1) + 1, stride)?;
        Ok(pixels.f_reshape([n, height * width, inputs])?)
    };
    let taps = (0..kernel).flat_map(|y| (0..kernel).map(move |x| (y, x)));
    let windows = taps.map(|(y, x)| pixels(y, x)).collect::<Result<_>>()?;
    Ok((channels_last(g)?.f_reshape([n, height * width, outputs])?, windows))
}

/// [N, C, H, W] to [N, H, W, C], a view.
fn channels_last(x: &Tensor) -> Result<Tensor> {
    Ok(x.f_permute([0, 2, 3, 1])?)
}
