//! Patch merging: four neighbouring tokens become one token with twice the channels.

use tch::Tensor;

use super::constants::{EPS, WEIGHT};
use crate::error::Result;
use crate::models::forward::Forward;
use crate::models::layer_norm::LayerNorm;
use crate::models::layout::LayoutBuilder;
use crate::models::linear::Linear;

/// Joins each 2 x 2 tokens to one, then applies LayerNorm and a linear map.
#[derive(Debug)]
pub struct PatchMerging {
    reduction: Linear,
    norm: LayerNorm,
}

impl PatchMerging {
    /// A layer from `channels` to `2 channels`.
    pub fn new(builder: &mut LayoutBuilder, channels: i64) -> Self {
        let features = [4 * channels, 2 * channels];
        PatchMerging {
            reduction: builder.scope("reduction", |builder| Linear::with_init(builder, features, WEIGHT, None)),
            norm: builder.scope("norm", |builder| LayerNorm::new(builder, features[0], EPS)),
        }
    }

    /// Maps (N, H, W, C) to (N, H / 2, W / 2, 2 C), rounded up. An odd edge is padded with zeros.
    pub fn forward(&self, ctx: &Forward<'_>, x: &Tensor) -> Result<Tensor> {
        let (n, height, width, channels) = x.size4()?;
        let x = match (height % 2, width % 2) {
            (0, 0) => x.shallow_clone(),
            (bottom, right) => x.f_constant_pad_nd([0, 0, 0, right, 0, bottom])?,
        };
        let (rows, columns) = ((height + 1) / 2, (width + 1) / 2);
        // The four tokens go column by column, as in torchvision.
        let merged = x.f_reshape([n, rows, 2, columns, 2, channels])?.f_permute([0, 1, 3, 4, 2, 5])?.f_reshape([
            n,
            rows,
            columns,
            4 * channels,
        ])?;
        self.reduction.forward(ctx, &self.norm.forward(ctx, &merged)?)
    }
}
