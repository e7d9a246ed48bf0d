//! Sums and products shared by the formulas of all layers.

use tch::{Kind, Tensor};

use crate::error::Result;

/// Largest number of elements in a tile of single-sample gradients. A tile of this size stays in a core's cache while
/// it is squared and added.
const TILE: i64 = 1 << 18;

/// Sum over `dims`, which are dropped from the shape.
pub fn sum(tensor: &Tensor, dims: &[i64]) -> Result<Tensor> {
    Ok(tensor.f_sum_dim_intlist(dims, false, None::<Kind>)?)
}

/// Sum over n of the squares of g[n]^T x[n]. Maps g [N, L, O] and x [N, L, I] to [O, I].
pub fn squared_products(g: &Tensor, x: &Tensor) -> Result<Tensor> {
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

/// A view of [N, C, H, W] as [N, H, W, C].
pub fn channels_last(x: &Tensor) -> Result<Tensor> {
    Ok(x.f_permute([0, 2, 3, 1])?)
}
