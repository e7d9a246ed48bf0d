//! Multi-head self attention (Vaswani et al. 2017, arXiv 1706.03762).
//!
//! Letters: N samples, W windows of a sample, B = N W sequences, L tokens of a sequence, C channels, h heads.

use tch::{Kind, Tensor};

use super::forward::Forward;
use super::per_sample::Layer;
use crate::error::Result;

/// What is added to the scores before the softmax.
#[derive(Debug)]
pub struct Offset {
    /// [W, h, L, L], or [1, h, L, L] where all windows have the same.
    pub values: Tensor,
    /// Where it was learned.
    pub layer: Layer,
}

/// softmax(q k^T / sqrt(C / h) + offset) v for each head and within each of `windows`: `qkv` [N, W L, 3 C], q, k and v
/// side by side with the heads inside, to [N, W L, C].
///
/// One fused operation wherever that has the derivatives that are asked for: it has no second ones, and none by the
/// offset.
pub fn attend(ctx: &Forward<'_>, qkv: &Tensor, heads: i64, windows: i64, offset: Option<&Offset>) -> Result<Tensor> {
    let (n, all_tokens, triple) = qkv.size3()?;
    let (channels, width) = (triple / 3, triple / 3 / heads);
    let (sequences, tokens) = (n * windows, all_tokens / windows);
    let qkv = qkv.f_view([sequences, tokens, 3, heads, width])?.f_permute([2, 0, 3, 1, 4])?; // [3, B, h, L, C / h]
    let (q, k, v) = (qkv.f_select(0, 0)?, qkv.f_select(0, 1)?, qkv.f_select(0, 2)?);
    let offset_learns = offset.is_some_and(|offset| ctx.has_layer_hooks() || offset.values.requires_grad());
    let y = if ctx.is_twice_differentiable() || offset_learns || sequences == 0 {
        let mut scores = q.f_mul_scalar((width as f64).powf(-0.5))?.f_matmul(&k.f_transpose(2, 3)?)?;
        if let Some(Offset { values, layer }) = offset {
            let moved = scores.f_view([n, windows, heads, tokens, tokens])?.f_add(values)?;
            scores = ctx.passed(*layer, &scores, moved)?.f_view([sequences, heads, tokens, tokens])?;
        }
        scores.f_softmax(-1, None::<Kind>)?.f_matmul(&v)?
    } else {
        let mask = offset.map(|offset| for_all_sequences(&offset.values, n)).transpose()?;
        Tensor::f_scaled_dot_product_attention(&q, &k, &v, mask.as_ref(), 0.0, false, None, false)?
    };
    Ok(y.f_transpose(1, 2)?.f_reshape([n, all_tokens, channels])?)
}

/// [W, h, L, L] to [B, h, L, L]; a single window serves all by broadcasting.
fn for_all_sequences(offset: &Tensor, n: i64) -> Result<Tensor> {
    let (windows, heads, tokens, _) = offset.size4()?;
    if windows == 1 {
        return Ok(offset.shallow_clone());
    }
    let expanded = offset.f_unsqueeze(0)?.f_expand([n, windows, heads, tokens, tokens], false)?;
    Ok(expanded.f_reshape([n * windows, heads, tokens, tokens])?)
}
