//! Multi-head self attention (Vaswani et al. 2017, arXiv 1706.03762).
//!
//! Letters: N samples, W windows per sample, B = N W sequences, L tokens per sequence, C channels, h heads.

use tch::{Kind, Tensor};

use super::forward::Forward;
use super::layer_pass::Layer;
use crate::error::Result;

/// A bias that is added to the attention scores before the softmax.
#[derive(Debug)]
pub struct AttentionBias {
    /// [W, h, L, L], or [1, h, L, L] if all windows have the same bias.
    pub values: Tensor,
    /// The layer that owns the learned values, for layer hooks.
    pub layer: Layer,
}

/// Computes softmax(q k^T / sqrt(C / h) + bias) v for each head and within each of `windows`. Maps `qkv` [N, W L, 3 C],
/// with q, k and v side by side and the heads inside each, to [N, W L, C].
///
/// Uses libtorch's fused operation if that has all derivatives that the pass needs. The fused operation has no second
/// derivatives, and none with respect to the bias. A pass that needs them computes the attention step by step.
pub fn attend(
    ctx: &Forward<'_>,
    qkv: &Tensor,
    heads: i64,
    windows: i64,
    bias: Option<&AttentionBias>,
) -> Result<Tensor> {
    let (n, all_tokens, triple) = qkv.size3()?;
    let (channels, width) = (triple / 3, triple / 3 / heads);
    let (sequences, tokens) = (n * windows, all_tokens / windows);
    let qkv = qkv.f_view([sequences, tokens, 3, heads, width])?.f_permute([2, 0, 3, 1, 4])?; // [3, B, h, L, C / h]
    let (q, k, v) = (qkv.f_select(0, 0)?, qkv.f_select(0, 1)?, qkv.f_select(0, 2)?);
    let bias_has_gradient = bias.is_some_and(|bias| ctx.has_layer_hooks() || bias.values.requires_grad());
    let y = if ctx.is_twice_differentiable() || bias_has_gradient || sequences == 0 {
        let mut scores = q.f_mul_scalar((width as f64).powf(-0.5))?.f_matmul(&k.f_transpose(2, 3)?)?;
        if let Some(AttentionBias { values, layer }) = bias {
            let biased = scores.f_view([n, windows, heads, tokens, tokens])?.f_add(values)?;
            scores = ctx.record_layer(*layer, &scores, biased)?.f_view([sequences, heads, tokens, tokens])?;
        }
        scores.f_softmax(-1, None::<Kind>)?.f_matmul(&v)?
    } else {
        let mask = bias.map(|bias| expand_to_sequences(&bias.values, n)).transpose()?;
        Tensor::f_scaled_dot_product_attention(&q, &k, &v, mask.as_ref(), 0.0, false, None, false)?
    };
    Ok(y.f_transpose(1, 2)?.f_reshape([n, all_tokens, channels])?)
}

/// Expands a bias [W, h, L, L] to [B, h, L, L]. A bias [1, h, L, L] stays as it is: it serves all windows by
/// broadcasting.
fn expand_to_sequences(bias: &Tensor, n: i64) -> Result<Tensor> {
    let (windows, heads, tokens, _) = bias.size4()?;
    if windows == 1 {
        return Ok(bias.shallow_clone());
    }
    let expanded = bias.f_unsqueeze(0)?.f_expand([n, windows, heads, tokens, tokens], false)?;
    Ok(expanded.f_reshape([n * windows, heads, tokens, tokens])?)
}
