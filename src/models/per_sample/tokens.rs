//! Squared gradients of the layers of transformers: maps that are the same at each of L positions, and learned position
//! biases.

use tch::Tensor;

use super::products::{channels_last, squared_products, sum};
use crate::error::Result;

/// Maps X [N, ..., I] and G [N, ..., O] to [O, I] for the weight and [O] for the bias.
pub fn linear(x: &Tensor, g: &Tensor) -> Result<(Tensor, Tensor)> {
    if x.dim() == 2 {
        // The gradient of a sample is an outer product. Its square is the outer product of the squares.
        let (x2, g2) = (x.f_square()?, g.f_square()?);
        return Ok((g2.f_tr()?.f_matmul(&x2)?, sum(&g2, &[0])?));
    }
    let (x, g) = (by_position(x)?, by_position(g)?);
    Ok((squared_products(&g, &x)?, sum(&sum(&g, &[1])?.f_square()?, &[0])?))
}

/// Maps X and G [N, ..., C] to [C] for the weight and [C] for the bias.
pub fn layer_norm(x: &Tensor, g: &Tensor, eps: f64) -> Result<(Tensor, Tensor)> {
    let (x, g) = (by_position(x)?, by_position(g)?);
    let channels = x.size()[2];
    let normalised = x.f_layer_norm::<&Tensor>([channels], None, None, eps, true)?;
    let by_weight = sum(&normalised.f_mul(&g)?, &[1])?.f_square()?;
    let by_bias = sum(&g, &[1])?.f_square()?;
    Ok((sum(&by_weight, &[0])?, sum(&by_bias, &[0])?))
}

/// Maps X [N, I, H, W] and G [N, O, H / side, W / side] to [O, I, side, side] for the weight and [O] for the bias.
pub fn patches(x: &Tensor, g: &Tensor, side: i64) -> Result<(Tensor, Tensor)> {
    let (n, inputs, ..) = x.size4()?;
    let (_, outputs, rows, columns) = g.size4()?;
    let whole = x.f_narrow(2, 0, rows * side)?.f_narrow(3, 0, columns * side)?;
    let tokens = whole
        .f_reshape([n, inputs, rows, side, columns, side])?
        .f_permute([0, 2, 4, 1, 3, 5])?
        .f_reshape([n, rows * columns, inputs * side * side])?;
    let (by_weight, by_bias) = linear(&tokens, &channels_last(g)?)?;
    Ok((by_weight.f_view([outputs, inputs, side, side])?, by_bias))
}

/// Maps G [N, W, h, L, L] and the indices [L L] into a table [positions, h] to the shape of the table.
pub fn position_bias(g: &Tensor, index: &Tensor, [positions, heads]: [i64; 2]) -> Result<Tensor> {
    let (n, pairs) = (g.size()[0], index.size()[0]);
    let of_sample = sum(g, &[1])?.f_reshape([n, heads, pairs])?;
    let zeros = Tensor::f_zeros([n, heads, positions], (g.f_kind()?, g.device()))?;
    let gradients = zeros.f_index_add(2, index, &of_sample)?;
    Ok(sum(&gradients.f_square()?, &[0])?.f_tr()?)
}

/// Reshapes [N, ..., C] to [N, L, C].
fn by_position(x: &Tensor) -> Result<Tensor> {
    let size = x.size();
    let (first, last) = (size[0], size[size.len() - 1]);
    Ok(x.f_reshape([first, size[1..size.len() - 1].iter().product(), last])?)
}
