//! The list of all networks, and the choice of one by the configuration.

use super::architecture::Architecture;
use super::resnet::{ResNet, ResNetVariant};
use super::resnet20::ResNet20;
use super::swin::{Swin, SwinVariant};
use super::vit::{ViT, ViTVariant};
use crate::config::schema::{ModelConfig, Stem};
use crate::error::{Error, Result, did_you_mean};

/// Builds the network of a configuration.
type Build = fn(&ModelConfig) -> Result<Box<dyn Architecture>>;

/// One network of the registry.
#[derive(Debug, Clone, Copy)]
pub struct ModelInfo {
    /// Value of `model.model.name`.
    pub name: &'static str,
    pub family: &'static str,
    /// arXiv number of the paper.
    pub paper: &'static str,
    build: Build,
}

const RESNET: &str = "arXiv 1512.03385";
const SWIN: &str = "arXiv 2103.14030";
const VIT: &str = "arXiv 2010.11929";

/// All models, in the order of the documentation.
pub const REGISTRY: &[ModelInfo] = &[
    info("resnet18", "resnet", RESNET, |model| resnet(ResNetVariant::ResNet18, model)),
    info("resnet34", "resnet", RESNET, |model| resnet(ResNetVariant::ResNet34, model)),
    info("resnet50", "resnet", RESNET, |model| resnet(ResNetVariant::ResNet50, model)),
    info("resnet20", "resnet", RESNET, |model| Ok(Box::new(ResNet20::new(model.num_classes)))),
    info("swin_t", "swin", SWIN, |model| swin(SwinVariant::TINY, model)),
    info("swin_s", "swin", SWIN, |model| swin(SwinVariant::SMALL, model)),
    info("swin_b", "swin", SWIN, |model| swin(SwinVariant::BASE, model)),
    info("vit_b_16", "vit", VIT, |model| vit(ViTVariant::base(16), model)),
    info("vit_b_32", "vit", VIT, |model| vit(ViTVariant::base(32), model)),
    info("vit_l_16", "vit", VIT, |model| vit(ViTVariant::large(16), model)),
    info("vit_l_32", "vit", VIT, |model| vit(ViTVariant::large(32), model)),
];

const fn info(name: &'static str, family: &'static str, paper: &'static str, build: Build) -> ModelInfo {
    ModelInfo { name, family, paper, build }
}

/// A hint for a choice of the group `model` that is the name of a network: `model=resnet50` is
/// `model.model.name=resnet50`. `choices` are those of the group.
pub fn choice_hint(group: &str, name: &str, choices: &[String]) -> Option<String> {
    let letters = |text: &str| text.chars().filter(char::is_ascii_alphanumeric).collect::<String>().to_lowercase();
    let model = REGISTRY.iter().find(|model| group == "model" && letters(model.name) == letters(name))?;
    if choices.iter().any(|choice| choice == model.name) {
        return Some(format!("did you mean `model={}`?", model.name));
    }
    let family = choices.iter().find(|choice| *choice == model.family)?;
    Some(format!("write `model={family} model.model.name={}`; choices: {}", model.name, choices.join(", ")))
}

fn resnet(variant: ResNetVariant, model: &ModelConfig) -> Result<Box<dyn Architecture>> {
    Ok(Box::new(ResNet::new(variant, model.stem.unwrap_or(Stem::None), model.num_classes)))
}

fn swin(variant: SwinVariant, model: &ModelConfig) -> Result<Box<dyn Architecture>> {
    Ok(Box::new(Swin::new(variant, model.num_classes)))
}

/// Side in pixels of the images of a ViT whose `image_size` is not set.
const IMAGENET_SIDE: i64 = 224;

fn vit(variant: ViTVariant, model: &ModelConfig) -> Result<Box<dyn Architecture>> {
    let side = model.image_size.unwrap_or(IMAGENET_SIDE);
    Ok(Box::new(ViT::new(variant, side, model.num_classes)?))
}

/// Builds the configured architecture for images of these sizes (height, width): first those of training, then those
/// of evaluation. A ViT without `image_size` is built for the images of training.
///
/// # Errors
/// `Usage` if the configuration names no known model, or if the model does not take images of both sizes.
pub fn build_for(model: &ModelConfig, sizes: [(i64, i64); 2]) -> Result<Box<dyn Architecture>> {
    let image_size = model.image_size.or(Some(sizes[0].0));
    let architecture = build(&ModelConfig { image_size, ..model.clone() })?;
    for (height, width) in sizes {
        architecture.accepts(height, width)?;
    }
    Ok(architecture)
}

/// Builds the configured architecture. A ViT without `image_size` takes images of 224 x 224 pixels.
///
/// # Errors
/// `Usage` if the configuration names no known model or an impossible image size.
pub fn build(model: &ModelConfig) -> Result<Box<dyn Architecture>> {
    (check(model)?.build)(model)
}

/// Finds the configured model in the registry.
///
/// # Errors
/// `Usage` for an unknown name, and for fewer than one class.
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
