//! The network: patches, four stages of blocks, the mean over all tokens, a linear head.

use std::sync::Arc;

use tch::{Kind, Tensor};

use super::block::SwinBlock;
use super::constants::{BIAS, EPS, WEIGHT};
use super::merging::PatchMerging;
use super::variant::{STAGES, SwinVariant};
use crate::error::{Error, Result};
use crate::models::architecture::Architecture;
use crate::models::forward::{FEATURES, Forward};
use crate::models::init::Init;
use crate::models::layer_norm::LayerNorm;
use crate::models::layout::{LayoutBuilder, Slot, StateLayout};
use crate::models::linear::Linear;
use crate::models::patches::Patches;
use crate::models::stochastic_depth::StochasticDepth;

/// Side of a patch in pixels.
const PATCH: i64 = 4;

/// The blocks of one resolution, and the patch merging before them.
#[derive(Debug)]
struct Stage {
    /// Name and layer. None in the first stage, which works on the patches.
    merge: Option<(String, PatchMerging)>,
    name: String,
    blocks: Vec<SwinBlock>,
}

/// A Swin Transformer for images of at least 4 x 4 pixels.
#[derive(Debug)]
pub struct Swin {
    layout: Arc<StateLayout>,
    patches: Patches,
    patch_norm: LayerNorm,
    stages: Vec<Stage>,
    norm: LayerNorm,
    head: Linear,
    head_slots: Vec<Slot>,
    depth: StochasticDepth,
}

impl Swin {
    pub fn new(variant: SwinVariant, num_classes: i64) -> Self {
        let mut builder = LayoutBuilder::new();
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
                let merge = builder.scope(&name, |builder| PatchMerging::new(builder, channels));
                (channels, heads) = (2 * channels, 2 * heads);
                (name, merge)
            });
            let name = format!("features.{}", 2 * i + 1);
            let block = |builder: &mut LayoutBuilder, index: usize| {
                builder.scope(index, |builder| SwinBlock::new(builder, channels, heads, index % 2 == 1))
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
    fn layout(&self) -> &Arc<StateLayout> {
        &self.layout
    }

    fn head(&self) -> &[Slot] {
        &self.head_slots
    }

    fn is_stochastic(&self) -> bool {
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
