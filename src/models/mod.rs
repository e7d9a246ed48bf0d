//! Networks: an architecture is a pure function of weights and input, a state is an ordered list of named tensors.
//!
//! | module | holds |
//! | --- | --- |
//! | [`layout`] | names, shapes and order of a network's tensors |
//! | [`state`], [`init`] | the tensors themselves, and where their first values come from |
//! | [`forward`] | the context of a forward pass: weights, mode, statistics, taps |
//! | [`conv`], [`norm`], [`linear`] | layers |
//! | [`sync_norm`] | BatchNorm with the statistics of all ranks |
//! | [`patches`], [`attention`], [`mlp`], [`layer_norm`] | layers of transformers |
//! | [`stochastic_depth`] | residual branches left out at random |
//! | [`resnet`], [`resnet20`], [`swin`], [`vit`] | architectures |
//! | [`per_sample`] | squared gradients of single samples |
//! | [`fused`] | BatchNorm fused into convolutions, for evaluation |

pub mod attention;
pub mod conv;
pub mod forward;
pub mod fused;
pub mod init;
pub mod layer_norm;
pub mod layout;
pub mod linear;
pub mod mlp;
mod model;
pub mod norm;
pub mod patches;
pub mod per_sample;
pub mod resnet;
pub mod resnet20;
pub mod state;
pub mod stochastic_depth;
pub mod swin;
pub mod sync_norm;
pub mod vit;

use std::fmt::Debug;
use std::sync::Arc;

use tch::Tensor;

use crate::config::schema::{ModelConfig, Stem};
use crate::error::{Error, Result, did_you_mean};

pub use forward::{FEATURES, Forward, Mode, Statistics};
pub use fused::FusedState;
pub use layout::{Layout, Slot};
pub use model::Model;
pub use state::State;

use resnet::{ResNet, Variant};
use resnet20::ResNet20;
use swin::Swin;
use vit::ViT;

/// A network without its weights.
pub trait Architecture: Debug + Send + Sync {
    fn layout(&self) -> &Arc<Layout>;

    /// Parameters of the head: the only ones that learn with `freeze_backbone`.
    fn head(&self) -> &[Slot];

    /// An error where the network takes no images of this size; it says which ones.
    fn accepts(&self, height: i64, width: i64) -> Result<()> {
        let _ = (height, width);
        Ok(())
    }

    /// Whether layers draw at random in train mode: the same images then give other logits in another epoch.
    fn draws_at_random(&self) -> bool {
        false
    }

    /// What [`forward`](Self::forward) does, apart from what is done once for all layers.
    fn logits(&self, ctx: &mut Forward<'_>, images: &Tensor) -> Result<Tensor>;

    /// Images (N, 3, H, W), normalised, of the weights' dtype and device, to logits (N, K).
    fn forward(&self, ctx: &mut Forward<'_>, images: &Tensor) -> Result<Tensor> {
        let logits = self.logits(ctx, images)?;
        ctx.count_batches()?;
        Ok(logits)
    }
}

type Build = fn(&ModelConfig) -> Result<Box<dyn Architecture>>;

/// What is known about a name that `model.model.name` may have.
#[derive(Debug, Clone, Copy)]
pub struct ModelInfo {
    pub name: &'static str,
    pub family: &'static str,
    pub paper: &'static str,
    build: Build,
}

const RESNET: &str = "arXiv 1512.03385";
const SWIN: &str = "arXiv 2103.14030";
const VIT: &str = "arXiv 2010.11929";

/// Every model, in the order of the documentation.
pub const REGISTRY: &[ModelInfo] = &[
    known("resnet18", "resnet", RESNET, |model| resnet(Variant::ResNet18, model)),
    known("resnet34", "resnet", RESNET, |model| resnet(Variant::ResNet34, model)),
    known("resnet50", "resnet", RESNET, |model| resnet(Variant::ResNet50, model)),
    known("resnet20", "resnet", RESNET, |model| Ok(Box::new(ResNet20::new(model.num_classes)))),
    known("swin_t", "swin", SWIN, |model| swin(swin::Variant::TINY, model)),
    known("swin_s", "swin", SWIN, |model| swin(swin::Variant::SMALL, model)),
    known("swin_b", "swin", SWIN, |model| swin(swin::Variant::BASE, model)),
    known("vit_b_16", "vit", VIT, |model| vit(vit::Variant::base(16), model)),
    known("vit_b_32", "vit", VIT, |model| vit(vit::Variant::base(32), model)),
    known("vit_l_16", "vit", VIT, |model| vit(vit::Variant::large(16), model)),
    known("vit_l_32", "vit", VIT, |model| vit(vit::Variant::large(32), model)),
];

const fn known(name: &'static str, family: &'static str, paper: &'static str, build: Build) -> ModelInfo {
    ModelInfo { name, family, paper, build }
}

fn resnet(variant: Variant, model: &ModelConfig) -> Result<Box<dyn Architecture>> {
    Ok(Box::new(ResNet::new(variant, model.stem.unwrap_or(Stem::None), model.num_classes)))
}

fn swin(variant: swin::Variant, model: &ModelConfig) -> Result<Box<dyn Architecture>> {
    Ok(Box::new(Swin::new(variant, model.num_classes)))
}

/// Side of the images that a ViT is built for where nobody says.
const IMAGENET_SIDE: i64 = 224;

fn vit(variant: vit::Variant, model: &ModelConfig) -> Result<Box<dyn Architecture>> {
    let side = model.image_size.unwrap_or(IMAGENET_SIDE);
    Ok(Box::new(ViT::new(variant, side, model.num_classes)?))
}

/// The architecture that the configuration names, for images of these sizes (height, width): of training and of
/// evaluation.
pub fn build_for(model: &ModelConfig, sizes: [(i64, i64); 2]) -> Result<Box<dyn Architecture>> {
    let image_size = model.image_size.or(Some(sizes[0].0));
    let architecture = build(&ModelConfig { image_size, ..model.clone() })?;
    for (height, width) in sizes {
        architecture.accepts(height, width)?;
    }
    Ok(architecture)
}

/// The architecture that the configuration names. Where it says no image size, a ViT is one for 224 pixels.
pub fn build(model: &ModelConfig) -> Result<Box<dyn Architecture>> {
    (check(model)?.build)(model)
}

/// Whether the configuration names a model that there is.
pub fn check(model: &ModelConfig) -> Result<&'static ModelInfo> {
    let Some(info) = REGISTRY.iter().find(|info| info.name == model.name) else {
        return Err(Error::usage(format!("`model.model.name`: unknown model `{}`", model.name))
            .hint(did_you_mean(&model.name, REGISTRY.iter().map(|info| info.name))));
    };
    if model.num_classes < 1 {
        return Err(Error::usage(format!("`model.model.num_classes`: got {}, wanted at least 1", model.num_classes)));
    }
    Ok(info)
}
