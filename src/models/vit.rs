//! Vision Transformer (Dosovitskiy et al. 2020, arXiv 2010.11929) as in torchvision: ViT-B and ViT-L with patches of 16
//! or 32 pixels.
//!
//! Letters: N batch, S side of the image, L tokens (the class token and the patches), C channels, K classes. There is
//! no dropout: torchvision's probabilities are 0.

use std::sync::Arc;

use tch::Tensor;

use super::architecture::Architecture;
use super::attention::attend;
use super::forward::{FEATURES, Forward};
use super::init::Init;
use super::layer_norm::LayerNorm;
use super::layer_pass::Layer;
use super::layout::{LayoutBuilder, Slot, StateLayout};
use super::linear::Linear;
use super::mlp::Mlp;
use super::patches::Patches;
use crate::error::{Error, Result};

/// Added to the variance in LayerNorm.
const EPS: f64 = 1e-6;
/// Standard deviation of the initial position embedding.
const POSITION_STD: f64 = 0.02;
/// Standard deviation of the initial biases of the MLPs.
const MLP_BIAS_STD: f64 = 1e-6;

/// Width, depth and patch size of a ViT.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ViTVariant {
    /// Channels of a token.
    pub channels: i64,
    /// Hidden channels of the MLPs.
    pub hidden: i64,
    pub layers: usize,
    pub heads: i64,
    /// Side of a patch in pixels.
    pub patch: i64,
}

impl ViTVariant {
    pub const fn base(patch: i64) -> Self {
        ViTVariant { channels: 768, hidden: 3072, layers: 12, heads: 12, patch }
    }

    pub const fn large(patch: i64) -> Self {
        ViTVariant { channels: 1024, hidden: 4096, layers: 24, heads: 16, patch }
    }
}

/// x + attention(norm(x)), then y + mlp(norm(y)).
#[derive(Debug)]
struct ViTBlock {
    name: String,
    norm1: LayerNorm,
    qkv: Linear,
    out: Linear,
    norm2: LayerNorm,
    mlp: Mlp,
    heads: i64,
}

impl ViTBlock {
    fn new(builder: &mut LayoutBuilder, variant: ViTVariant, index: usize) -> Self {
        let ViTVariant { channels, hidden, heads, .. } = variant;
        let name = format!("encoder_layer_{index}");
        builder.scope(&name, |builder| {
            let norm = |builder: &mut LayoutBuilder, name| builder.scope(name, |b| LayerNorm::new(b, channels, EPS));
            let zero = Some(Init::Constant(0.0));
            let norm1 = norm(builder, "ln_1");
            let (qkv, out) = builder.scope("self_attention", |builder| {
                let [inputs, outputs] = [channels, 3 * channels];
                let (names, xavier) = (["in_proj_weight", "in_proj_bias"], Init::xavier_uniform(inputs, outputs));
                let qkv = Linear::named(builder, names, [inputs, outputs], xavier, zero);
                let out = |builder: &mut LayoutBuilder| {
                    Linear::with_init(builder, [channels, channels], Init::linear(channels), zero)
                };
                (qkv, builder.scope("out_proj", out))
            });
            let norm2 = norm(builder, "ln_2");
            let init = |inputs, outputs| (Init::xavier_uniform(inputs, outputs), Init::Normal { std: MLP_BIAS_STD });
            let mlp = builder.scope("mlp", |builder| Mlp::new(builder, channels, hidden, init));
            ViTBlock { name: format!("encoder.layers.{name}"), norm1, qkv, out, norm2, mlp, heads }
        })
    }

    fn forward(&self, ctx: &Forward<'_>, x: &Tensor) -> Result<Tensor> {
        let qkv = self.qkv.forward(ctx, &self.norm1.forward(ctx, x)?)?;
        let mut y = self.out.forward(ctx, &attend(ctx, &qkv, self.heads, 1, None)?)?.f_add_(x)?;
        let mut z = self.mlp.forward(ctx, &self.norm2.forward(ctx, &y)?)?;
        y = z.f_add_(&y)?;
        Ok(y)
    }
}

/// A ViT: patches and class token, blocks, a linear head on the class token.
#[derive(Debug)]
pub struct ViT {
    layout: Arc<StateLayout>,
    /// Side of the image (S) and of a patch, in pixels.
    sides: (i64, i64),
    class_token: Slot,
    patches: Patches,
    positions: Slot,
    blocks: Vec<ViTBlock>,
    norm: LayerNorm,
    head: Linear,
    head_slots: Vec<Slot>,
}

impl ViT {
    /// A network for square images of `side` pixels. The position embedding depends on `side`.
    ///
    /// # Errors
    /// `Usage` unless `side` is a positive multiple of the patch's side.
    pub fn new(variant: ViTVariant, side: i64, num_classes: i64) -> Result<Self> {
        let ViTVariant { channels, layers, patch, .. } = variant;
        if side < patch || side % patch != 0 {
            return Err(Error::usage(format!(
                "`model.model.image_size`: {side} pixels cannot be cut into patches of {patch} pixels"
            ))
            .hint(format!(
                "choose a multiple of {patch}, and transforms that make images of that size: \
                 data.transforms.imagenet_resize.enabled=true makes 224 pixels"
            )));
        }
        let mut builder = LayoutBuilder::new();
        let tokens = 1 + (side / patch).pow(2);
        let class_token = builder.parameter("class_token", &[1, 1, channels], Init::Constant(0.0));
        let patches = builder.scope("conv_proj", |builder| {
            // torchvision truncates this distribution at +-2. That is more than 27 standard deviations away.
            let weight = Init::Normal { std: (Patches::inputs(patch) as f64).powf(-0.5) };
            Patches::new(builder, channels, patch, weight, Init::Constant(0.0))
        });
        let (positions, blocks, norm) = builder.scope("encoder", |builder| {
            let init = Init::Normal { std: POSITION_STD };
            let positions = builder.parameter("pos_embedding", &[1, tokens, channels], init);
            let blocks = builder
                .scope("layers", |builder| (0..layers).map(|index| ViTBlock::new(builder, variant, index)).collect());
            (positions, blocks, builder.scope("ln", |builder| LayerNorm::new(builder, channels, EPS)))
        });
        let zero = Init::Constant(0.0);
        let head = builder
            .scope("heads.head", |builder| Linear::with_init(builder, [channels, num_classes], zero, Some(zero)));
        Ok(ViT {
            layout: Arc::new(builder.finish()),
            sides: (side, patch),
            class_token,
            patches,
            positions,
            blocks,
            norm,
            head_slots: head.slots(),
            head,
        })
    }

    /// Maps images to tokens [N, L, C]: the class token, then the patches row by row, with the position embedding
    /// added.
    fn tokens(&self, ctx: &mut Forward<'_>, images: &Tensor) -> Result<Tensor> {
        let patches = self.patches.forward(ctx, images)?;
        ctx.feature("conv_proj", &patches.f_permute([0, 3, 1, 2])?);
        let patches = patches.f_flatten(1, 2)?;
        let (n, _, channels) = patches.size3()?;
        let class = ctx.weight(self.class_token).f_expand([n, 1, channels], false)?;
        let class =
            ctx.record_layer(Layer::Embedding { parameter: self.class_token }, &class, class.shallow_clone())?;
        let tokens = Tensor::f_cat(&[class, patches], 1)?;
        let placed = tokens.f_add(ctx.weight(self.positions))?;
        ctx.record_layer(Layer::Embedding { parameter: self.positions }, &tokens, placed)
    }
}

impl Architecture for ViT {
    fn layout(&self) -> &Arc<StateLayout> {
        &self.layout
    }

    fn head(&self) -> &[Slot] {
        &self.head_slots
    }

    fn accepts(&self, height: i64, width: i64) -> Result<()> {
        let side = self.sides.0;
        if (height, width) == (side, side) {
            return Ok(());
        }
        Err(Error::usage(format!(
            "`model.model.image_size`: the model takes images of {side} x {side} pixels, got {height} x {width}"
        ))
        .hint("leave out model.model.image_size: the default is the size of the images after the transforms"))
    }

    fn logits(&self, ctx: &mut Forward<'_>, images: &Tensor) -> Result<Tensor> {
        let (_, _, height, width) = images.size4()?;
        self.accepts(height, width)?;
        let mut x = self.tokens(ctx, images)?;
        for block in &self.blocks {
            x = block.forward(ctx, &x)?;
            ctx.feature(&block.name, &x);
        }
        // The head reads only the class token, and LayerNorm treats each token separately. So one token is enough.
        let features = self.norm.forward(ctx, &x.f_select(1, 0)?)?;
        ctx.feature(FEATURES, &features);
        self.head.forward(ctx, &features)
    }
}
