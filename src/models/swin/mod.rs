//! Swin Transformer (Liu et al. 2021, arXiv 2103.14030) as in torchvision: Swin-T, -S and -B, windows of 7 x 7 tokens.
//!
//! Letters: N batch, H and W height and width in tokens, C channels, K classes. Between layers activations are
//! (N, H, W, C).

mod block;
mod merge;
mod window;

use std::sync::Arc;

use tch::{Kind, Tensor};

use self::block::Block;
use self::merge::Merge;
use super::Architecture;
use super::forward::{FEATURES, Forward};
use super::init::Init;
use super::layer_norm::LayerNorm;
use super::layout::{Builder, Layout, Slot};
use super::linear::Linear;
use super::patches::Patches;
use super::stochastic_depth::StochasticDepth;
use crate::error::{Error, Result};

/// Of the LayerNorms.
const EPS: f64 = 1e-5;
/// Side of a patch in pixels.
const PATCH: i64 = 4;
const STAGES: usize = 4;

/// Initial weights of linear layers and position tables: cut off at +-2 in torchvision, 100 standard deviations away.
const WEIGHT: Init = Init::Normal { std: 0.02 };
const BIAS: Init = Init::Constant(0.0);

/// Width, depth, and how often residual branches are left out in training.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Variant {
    /// Of the first stage; each stage doubles them.
    pub channels: i64,
    /// Blocks of each stage.
    pub depths: [usize; STAGES],
    /// Attention heads of the first stage; each stage doubles them.
    pub heads: i64,
    /// Probability to leave out a branch of the last block; it grows linearly from 0 at the first.
    pub drop: f64,
}

impl Variant {
    pub const TINY: Self = Variant { channels: 96, depths: [2, 2, 6, 2], heads: 3, drop: 0.2 };
    pub const SMALL: Self = Variant { channels: 96, depths: [2, 2, 18, 2], heads: 3, drop: 0.3 };
    pub const BASE: Self = Variant { channels: 128, depths: [2, 2, 18, 2], heads: 4, drop: 0.5 };

    /// For each block, its probability twice: attention and MLP are left out each by itself.
    pub fn branch_drops(&self) -> Vec<f64> {
        let blocks: usize = self.depths.iter().sum();
        let of_block = |block: usize| self.drop * block as f64 / (blocks - 1).max(1) as f64;
        (0..blocks).flat_map(|block| [of_block(block); 2]).collect()
    }
}

/// Blocks of one resolution, and how it is reached.
#[derive(Debug)]
struct Stage {
    /// Absent in the first stage, which works on the patches themselves.
    merge: Option<(String, Merge)>,
    name: String,
    blocks: Vec<Block>,
}

#[derive(Debug)]
pub struct Swin {
    layout: Arc<Layout>,
    patches: Patches,
    patch_norm: LayerNorm,
    stages: Vec<Stage>,
    norm: LayerNorm,
    head: Linear,
    head_slots: Vec<Slot>,
    depth: StochasticDepth,
}

impl Swin {
    pub fn new(variant: Variant, num_classes: i64) -> Self {
        let mut builder = Builder::new();
        let (mut channels, mut heads) = (variant.channels, variant.heads);
        let (patches, patch_norm) = builder.scope("features.0", |builder| {
            let init = Init::linear(Patches::inputs(PATCH));
            let patches = builder.scope(0, |builder| Patches::new(builder, channels, PATCH, init, init));
            (patches, builder.scope(2, |builder| LayerNorm::new(builder, channels, EPS)))
        });
        let mut stages = Vec::with_capacity(STAGES);
        for (i, depth) in variant.depths.into_iter().enumerate() {
            let merge = (i > 0).then(|| {
                let name = format!("features.{}", 2 * i);
                let merge = builder.scope(&name, |builder| Merge::new(builder, channels));
                (channels, heads) = (2 * channels, 2 * heads);
                (name, merge)
            });
            let name = format!("features.{}", 2 * i + 1);
            let block = |builder: &mut Builder, index: usize| {
                builder.scope(index, |builder| Block::new(builder, channels, heads, index % 2 == 1))
            };
            let blocks = builder.scope(&name, |builder| (0..depth).map(|index| block(builder, index)).collect());
            stages.push(Stage { merge, name, blocks });
        }
        let norm = builder.scope("norm", |builder| LayerNorm::new(builder, channels, EPS));
        let head =
            builder.scope("head", |builder| Linear::with_init(builder, [channels, num_classes], WEIGHT, Some(BIAS)));
        Swin {
            layout: Arc::new(builder.finish()),
            patches,
            patch_norm,
            stages,
            norm,
            head_slots: head.slots(),
            head,
            depth: StochasticDepth::new(variant.branch_drops()),
        }
    }
}

impl Architecture for Swin {
    fn layout(&self) -> &Arc<Layout> {
        &self.layout
    }

    fn head(&self) -> &[Slot] {
        &self.head_slots
    }

    fn draws_at_random(&self) -> bool {
        true
    }

    fn accepts(&self, height: i64, width: i64) -> Result<()> {
        if height.min(width) >= PATCH {
            return Ok(());
        }
        Err(Error::usage(format!("a Swin Transformer takes images of at least {PATCH} pixels, got {height} x {width}")))
    }

    fn logits(&self, ctx: &mut Forward<'_>, images: &Tensor) -> Result<Tensor> {
        let factors = self.depth.factors(ctx, images)?;
        let mut branches = factors.chunks_exact(2);
        let mut x = self.patch_norm.forward(ctx, &self.patches.forward(ctx, images)?)?;
        ctx.feature("features.0", &x);
        for Stage { merge, name, blocks } in &self.stages {
            if let Some((name, merge)) = merge {
                x = merge.forward(ctx, &x)?;
                ctx.feature(name, &x);
            }
            for (block, kept) in blocks.iter().zip(&mut branches) {
                x = block.forward(ctx, &x, kept)?;
            }
            ctx.feature(name, &x);
        }
        let x = self.norm.forward(ctx, &x)?;
        ctx.feature("norm", &x);
        let features = x.f_mean_dim([1i64, 2].as_slice(), false, None::<Kind>)?;
        ctx.feature(FEATURES, &features);
        self.head.forward(ctx, &features)
    }
}
