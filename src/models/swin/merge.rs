//! Patch merging: four neighbouring tokens become one of twice the channels.

use tch::Tensor;

use super::{EPS, WEIGHT};
use crate::error::Result;
use crate::models::forward::Forward;
use crate::models::layer_norm::LayerNorm;
use crate::models::layout::Builder;
use crate::models::linear::Linear;

#[derive(Debug)]
pub struct Merge {
    reduction: Linear,
    norm: LayerNorm,
}

impl Merge {
    /// From `channels` to twice as many.
    pub fn new(builder: &mut Builder, channels: i64) -> Self {
        let sides = [4 * channels, 2 * channels];
        Merge {
            reduction: builder.scope("reduction", |builder| Linear::with_init(builder, sides, WEIGHT, None)),
            norm: builder.scope("norm", |builder| LayerNorm::new(builder, sides[0], EPS)),
        }
    }

    /// (N, H, W, C) to (N, H / 2, W / 2, 2 C), rounded up: what is missing at an odd edge is zero.
    pub fn forward(&self, ctx: &Forward<'_>, x: &Tensor) -> Result<Tensor> {
        let (n, height, width, channels) = x.size4()?;
        let x = match (height % 2, width % 2) {
            (0, 0) => x.shallow_clone(),
            (bottom, right) => x.f_constant_pad_nd([0, 0, 0, right, 0, bottom])?,
        };
        let (rows, columns) = ((height + 1) / 2, (width + 1) / 2);
        // torchvision's order of the four: by columns.
        let merged = x.f_reshape([n, rows, 2, columns, 2, channels])?.f_permute([0, 1, 3, 4, 2, 5])?.f_reshape([
            n,
            rows,
            columns,
            4 * channels,
        ])?;
        self.reduction.forward(ctx, &self.norm.forward(ctx, &merged)?)
    }
}
