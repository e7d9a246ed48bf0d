//! Networks: an architecture is a pure function of weights and input, a state is an ordered list of named tensors.
//!
//! | module | holds |
//! | --- | --- |
//! | [`layout`] | names, shapes and order of a network's tensors |
//! | [`state`], [`init`] | the tensors themselves, and where their first values come from |
//! | [`forward`] | the context of a forward pass: weights, mode, statistics, taps |
//! | [`conv`], [`norm`], [`linear`] | layers |
//! | [`sync_norm`] | BatchNorm with the statistics of all ranks |
//! | [`resnet`], [`resnet20`] | architectures |
//! | [`pretrained`] | weights to start from |
//! | [`per_sample`] | squared gradients of single samples |
//! | [`folded`] | BatchNorm folded into convolutions, for evaluation |

pub mod conv;
pub mod folded;
pub mod forward;
pub mod init;
pub mod layout;
pub mod linear;
pub mod norm;
pub mod per_sample;
pub mod pretrained;
pub mod resnet;
pub mod resnet20;
pub mod state;
pub mod sync_norm;

use std::fmt::Debug;
use std::sync::Arc;

use tch::Tensor;

use crate::config::schema::{Model, Stem};
use crate::error::{Error, Result, did_you_mean};

pub use folded::Folded;
pub use forward::{FEATURES, Forward, Mode, Statistics};
pub use layout::{Layout, Slot};
pub use state::State;

use resnet::{ResNet, Variant};
use resnet20::ResNet20;

/// A network without its weights.
pub trait Architecture: Debug + Send + Sync {
    fn layout(&self) -> &Arc<Layout>;

    /// Parameters of the head: the only ones that learn with `freeze_backbone`.
    fn head(&self) -> &[Slot];

    /// Images (N, 3, H, W), normalised, of the weights' dtype and device, to logits (N, K).
    fn forward(&self, ctx: &mut Forward<'_>, images: &Tensor) -> Result<Tensor>;
}

type Build = fn(&Model) -> Box<dyn Architecture>;

/// What is known about a name that `model.model.name` may have.
#[derive(Debug, Clone, Copy)]
pub struct ModelInfo {
    pub name: &'static str,
    pub family: &'static str,
    pub paper: &'static str,
    /// `None` where the configuration knows the name but the network is not built yet.
    pub build: Option<Build>,
}

const RESNET: &str = "arXiv 1512.03385";
const SWIN: &str = "arXiv 2103.14030";
const VIT: &str = "arXiv 2010.11929";

/// Every model, in the order of the documentation.
pub const REGISTRY: &[ModelInfo] = &[
    known("resnet18", "resnet", RESNET, Some(|model| resnet(Variant::ResNet18, model))),
    known("resnet34", "resnet", RESNET, Some(|model| resnet(Variant::ResNet34, model))),
    known("resnet50", "resnet", RESNET, Some(|model| resnet(Variant::ResNet50, model))),
    known("resnet20", "resnet", RESNET, Some(|model| Box::new(ResNet20::new(model.num_classes)))),
    known("swin_t", "swin", SWIN, None),
    known("swin_s", "swin", SWIN, None),
    known("swin_b", "swin", SWIN, None),
    known("vit_b_16", "vit", VIT, None),
    known("vit_b_32", "vit", VIT, None),
    known("vit_l_16", "vit", VIT, None),
    known("vit_l_32", "vit", VIT, None),
];

const fn known(name: &'static str, family: &'static str, paper: &'static str, build: Option<Build>) -> ModelInfo {
    ModelInfo { name, family, paper, build }
}

fn resnet(variant: Variant, model: &Model) -> Box<dyn Architecture> {
    Box::new(ResNet::new(variant, model.stem.unwrap_or(Stem::None), model.num_classes))
}

/// The architecture that the configuration names.
pub fn build(model: &Model) -> Result<Box<dyn Architecture>> {
    let Some(info) = REGISTRY.iter().find(|info| info.name == model.name) else {
        return Err(Error::usage(format!("`model.model.name`: unknown model `{}`", model.name))
            .hint(did_you_mean(&model.name, REGISTRY.iter().map(|info| info.name))));
    };
    if model.num_classes < 1 {
        return Err(Error::usage(format!("`model.model.num_classes`: got {}, wanted at least 1", model.num_classes)));
    }
    let Some(build) = info.build else {
        let built: Vec<&str> = REGISTRY.iter().filter(|info| info.build.is_some()).map(|info| info.name).collect();
        return Err(Error::usage(format!("`model.model.name`: {} is not built into this version yet", info.name))
            .hint(format!("choose one of {}", built.join(", "))));
    };
    Ok(build(model))
}
