//! A Swin block: attention within windows, then an MLP, each on a residual branch.

use tch::Tensor;

use super::attention::WindowAttention;
use super::constants::{BIAS, EPS, WEIGHT};
use crate::error::Result;
use crate::models::forward::Forward;
use crate::models::layer_norm::LayerNorm;
use crate::models::layout::LayoutBuilder;
use crate::models::mlp::Mlp;

/// Hidden channels of the MLP, in multiples of the block's channels.
const MLP_RATIO: i64 = 4;

/// x + attention(norm(x)), then y + mlp(norm(y)).
#[derive(Debug)]
pub struct SwinBlock {
    norm1: LayerNorm,
    attention: WindowAttention,
    norm2: LayerNorm,
    mlp: Mlp,
}

impl SwinBlock {
    /// `shifted`: the windows are shifted by half a window, as in every second block.
    pub fn new(builder: &mut LayoutBuilder, channels: i64, heads: i64, shifted: bool) -> Self {
        let norm = |builder: &mut LayoutBuilder, name| builder.scope(name, |b| LayerNorm::new(b, channels, EPS));
        SwinBlock {
            norm1: norm(builder, "norm1"),
            attention: builder.scope("attn", |builder| WindowAttention::new(builder, channels, heads, shifted)),
            norm2: norm(builder, "norm2"),
            mlp: builder
                .scope("mlp", |builder| Mlp::new(builder, channels, MLP_RATIO * channels, |_, _| (WEIGHT, BIAS))),
        }
    }

    /// Maps (N, H, W, C) to the same shape. `factors` are those of the two branches, see
    /// [`StochasticDepth::factors`](crate::models::stochastic_depth::StochasticDepth::factors).
    pub fn forward(&self, ctx: &Forward<'_>, x: &Tensor, factors: &[Option<Tensor>]) -> Result<Tensor> {
        let branch = self.attention.forward(ctx, &self.norm1.forward(ctx, x)?)?;
        let y = add(branch, &factors[0], x)?;
        let branch = self.mlp.forward(ctx, &self.norm2.forward(ctx, &y)?)?;
        add(branch, &factors[1], &y)
    }
}

/// x + factor * branch, with a factor of 1 for None.
fn add(mut branch: Tensor, factors: &Option<Tensor>, x: &Tensor) -> Result<Tensor> {
    Ok(match factors {
        Some(factors) => x.f_addcmul(&branch, factors)?,
        None => branch.f_add_(x)?,
    })
}
