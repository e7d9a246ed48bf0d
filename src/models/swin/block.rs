//! A Swin block: attention within windows, then an MLP, each on a residual branch.

use tch::Tensor;

use super::window::{Grid, SIDE};
use super::{BIAS, EPS, WEIGHT};
use crate::error::Result;
use crate::models::attention::{Offset, attend};
use crate::models::forward::Forward;
use crate::models::init::Init;
use crate::models::layer_norm::LayerNorm;
use crate::models::layout::{Builder, Dtype, Slot};
use crate::models::linear::Linear;
use crate::models::mlp::Mlp;
use crate::models::per_sample::Layer;

/// Hidden channels of the MLP, as a multiple of the block's.
const MLP_RATIO: i64 = 4;

/// x + attention(norm(x)), then y + mlp(norm(y)).
#[derive(Debug)]
pub struct Block {
    norm1: LayerNorm,
    attention: Attention,
    norm2: LayerNorm,
    mlp: Mlp,
}

impl Block {
    /// Every second block has its windows shifted by half a window.
    pub fn new(builder: &mut Builder, channels: i64, heads: i64, shifted: bool) -> Self {
        let norm = |builder: &mut Builder, name| builder.scope(name, |b| LayerNorm::new(b, channels, EPS));
        Block {
            norm1: norm(builder, "norm1"),
            attention: builder.scope("attn", |builder| Attention::new(builder, channels, heads, shifted)),
            norm2: norm(builder, "norm2"),
            mlp: builder
                .scope("mlp", |builder| Mlp::new(builder, channels, MLP_RATIO * channels, |_, _| (WEIGHT, BIAS))),
        }
    }

    /// (N, H, W, C) to the same shape. `kept` are the factors of the two branches, see
    /// [`StochasticDepth::factors`](crate::models::stochastic_depth::StochasticDepth::factors).
    pub fn forward(&self, ctx: &Forward<'_>, x: &Tensor, kept: &[Option<Tensor>]) -> Result<Tensor> {
        let branch = self.attention.forward(ctx, &self.norm1.forward(ctx, x)?)?;
        let y = add(branch, &kept[0], x)?;
        let branch = self.mlp.forward(ctx, &self.norm2.forward(ctx, &y)?)?;
        add(branch, &kept[1], &y)
    }
}

fn add(mut branch: Tensor, kept: &Option<Tensor>, x: &Tensor) -> Result<Tensor> {
    Ok(match kept {
        Some(factors) => x.f_addcmul(&branch, factors)?,
        None => branch.f_add_(x)?,
    })
}

/// Multi-head self attention within windows of 7 x 7 tokens; each relative position in a window adds to the scores what
/// was learned for it.
#[derive(Debug)]
struct Attention {
    /// ((2 * 7 - 1)^2, heads).
    table: Slot,
    /// Where in the table a pair of tokens of a window looks: int64 [7^4].
    index: Slot,
    qkv: Linear,
    proj: Linear,
    heads: i64,
    shifted: bool,
}

impl Attention {
    fn new(builder: &mut Builder, channels: i64, heads: i64, shifted: bool) -> Self {
        let indices = Init::RelativePositions { side: SIDE as usize };
        let linear = |builder: &mut Builder, name, outputs| {
            builder.scope(name, |builder| Linear::with_init(builder, [channels, outputs], WEIGHT, Some(BIAS)))
        };
        Attention {
            table: builder.parameter("relative_position_bias_table", &[(2 * SIDE - 1).pow(2), heads], WEIGHT),
            index: builder.buffer("relative_position_index", &[SIDE.pow(4)], Dtype::Int64, indices),
            qkv: linear(builder, "qkv", 3 * channels),
            proj: linear(builder, "proj", channels),
            heads,
            shifted,
        }
    }

    fn forward(&self, ctx: &Forward<'_>, x: &Tensor) -> Result<Tensor> {
        let grid = Grid::new(x, self.shifted)?;
        let offset = self.offset(ctx, &grid, x)?;
        let y = attend(ctx, &self.qkv.forward(ctx, &grid.cut(x)?)?, self.heads, grid.windows(), Some(&offset))?;
        grid.join(&self.proj.forward(ctx, &y)?)
    }

    fn offset(&self, ctx: &Forward<'_>, grid: &Grid, like: &Tensor) -> Result<Offset> {
        let tokens = SIDE * SIDE;
        let pairs = ctx.weight(self.table).f_index_select(0, ctx.weight(self.index))?; // [L L, h]
        let bias = pairs.f_tr()?.f_reshape([1, self.heads, tokens, tokens])?;
        let values = match grid.mask(like)? {
            Some(mask) => bias.f_add(&mask.f_unsqueeze(1)?)?,
            None => bias,
        };
        Ok(Offset { values, layer: Layer::ScoreTable { table: self.table, index: self.index } })
    }
}
