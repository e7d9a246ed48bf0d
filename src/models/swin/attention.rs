//! Multi-head self attention within windows.

use tch::Tensor;

use super::constants::{BIAS, WEIGHT};
use super::window::{SIDE, WindowGrid};
use crate::error::Result;
use crate::models::attention::{AttentionBias, attend};
use crate::models::forward::Forward;
use crate::models::init::Init;
use crate::models::layer_pass::Layer;
use crate::models::layout::{LayoutBuilder, Slot, TensorDtype};
use crate::models::linear::Linear;

/// Multi-head self attention within windows of 7 x 7 tokens, with a learned bias of the scores for each relative
/// position in a window.
#[derive(Debug)]
pub struct WindowAttention {
    /// Learned biases, ((2 * 7 - 1)^2, heads).
    table: Slot,
    /// Row of the table for each pair of tokens of a window, int64 [7^4].
    index: Slot,
    qkv: Linear,
    proj: Linear,
    heads: i64,
    shifted: bool,
}

impl WindowAttention {
    pub fn new(builder: &mut LayoutBuilder, channels: i64, heads: i64, shifted: bool) -> Self {
        let indices = Init::RelativePositions { side: SIDE as usize };
        let linear = |builder: &mut LayoutBuilder, name, outputs| {
            builder.scope(name, |builder| Linear::with_init(builder, [channels, outputs], WEIGHT, Some(BIAS)))
        };
        WindowAttention {
            table: builder.parameter("relative_position_bias_table", &[(2 * SIDE - 1).pow(2), heads], WEIGHT),
            index: builder.buffer("relative_position_index", &[SIDE.pow(4)], TensorDtype::Int64, indices),
            qkv: linear(builder, "qkv", 3 * channels),
            proj: linear(builder, "proj", channels),
            heads,
            shifted,
        }
    }

    /// Maps (N, H, W, C) to the same shape.
    pub fn forward(&self, ctx: &Forward<'_>, x: &Tensor) -> Result<Tensor> {
        let grid = WindowGrid::new(x, self.shifted)?;
        let bias = self.bias(ctx, &grid, x)?;
        let y = attend(ctx, &self.qkv.forward(ctx, &grid.partition(x)?)?, self.heads, grid.windows(), Some(&bias))?;
        grid.reverse(&self.proj.forward(ctx, &y)?)
    }

    /// The learned biases of the scores, plus the mask of shifted windows.
    fn bias(&self, ctx: &Forward<'_>, grid: &WindowGrid, like: &Tensor) -> Result<AttentionBias> {
        let tokens = SIDE * SIDE;
        let pairs = ctx.weight(self.table).f_index_select(0, ctx.weight(self.index))?; // [L L, h]
        let bias = pairs.f_tr()?.f_reshape([1, self.heads, tokens, tokens])?;
        let values = match grid.mask(like)? {
            Some(mask) => bias.f_add(&mask.f_unsqueeze(1)?)?,
            None => bias,
        };
        Ok(AttentionBias { values, layer: Layer::PositionBias { table: self.table, index: self.index } })
    }
}
