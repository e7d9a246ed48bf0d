//! Squared gradients of convolutions with a square kernel, padding (k - 1) / 2 and no bias.

use tch::Tensor;

use super::products::{channels_last, squared_products};
use crate::error::Result;

/// With fewer input channels, all taps of a kernel go into one matrix product: the product of a single tap is too thin
/// to be fast.
const FEW_CHANNELS: i64 = 32;

/// Maps X [N, I, H, W] and G [N, O, H', W'] to [O, I, k, k].
///
/// For each tap of the kernel, the gradients of all samples are one batched matrix product: G^T X with X shifted by the
/// tap, [N, O, L] x [N, L, I].
pub fn squares(x: &Tensor, g: &Tensor, kernel: i64, stride: i64) -> Result<Tensor> {
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
    // The sums make [O, k k I], with the input channels innermost.
    Ok(Tensor::f_cat(&sums, 1)?
        .f_view([outputs, taps, inputs])?
        .f_permute([0, 2, 1])?
        .f_reshape([outputs, inputs, kernel, kernel])?)
}

/// Operands for stride 1: G [N, L', O], its rows padded with zeros to the length of the padded rows of X, and for each
/// tap a contiguous window of X [N, L', I]. Positions beyond the end of a row are multiplied by a zero of G.
fn shifts(x: &Tensor, g: &Tensor, kernel: i64) -> Result<(Tensor, Vec<Tensor>)> {
    let (n, inputs, height, width) = x.size4()?;
    let outputs = g.size()[1];
    let padding = (kernel - 1) / 2;
    let row = width + 2 * padding;
    // The last window ends beyond the image, so there is one more row at the bottom.
    let x = channels_last(x)?.f_constant_pad_nd([0, 0, padding, padding, padding, padding + i64::from(padding > 0)])?;
    let x = x.f_reshape([n, -1, inputs])?;
    let g = channels_last(g)?.f_constant_pad_nd([0, 0, 0, 2 * padding])?.f_reshape([n, height * row, outputs])?;
    let taps = (0..kernel).flat_map(|y| (0..kernel).map(move |x| y * row + x));
    let windows = taps.map(|start| Ok(x.f_narrow(1, start, height * row)?)).collect::<Result<_>>()?;
    Ok((g, windows))
}

/// Operands for any stride: G [N, L, O], and for each tap a copy of the pixels of X under it, [N, L, I].
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
