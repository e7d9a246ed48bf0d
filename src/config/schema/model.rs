//! `model`: the network and its training.

use std::path::PathBuf;

use serde::Deserialize;

use super::forms;
use super::optim::{OptimConfig, SchedulerConfig};

/// The network, its optimizer and its schedule.
#[derive(Debug, Clone, Deserialize)]
pub struct ModelGroup {
    pub model: ModelConfig,
    pub optim: OptimConfig,
    pub scheduler: SchedulerConfig,
}

/// `model.model`: the network.
#[derive(Debug, Clone, Deserialize)]
pub struct ModelConfig {
    /// A name of `models::REGISTRY`.
    pub name: String,
    pub num_classes: i64,
    /// Training starts from ImageNet weights.
    pub pretrained: bool,
    /// The file of these weights: a checkpoint of torchvision.
    #[serde(default, deserialize_with = "forms::optional_path")]
    pub pretrained_path: Option<PathBuf>,
    /// First layers of a ResNet (null: those of the paper).
    pub stem: Option<Stem>,
    /// Only the head, the last linear layer, is trained.
    pub freeze_backbone: bool,
    pub label_smoothing: Option<f64>,
    /// Side of the input in pixels (Swin, ViT).
    pub image_size: Option<i64>,
}

impl ModelConfig {
    /// The network `name` as its paper has it, from random weights, all of it trained.
    pub fn plain(name: impl Into<String>, num_classes: i64) -> Self {
        ModelConfig {
            name: name.into(),
            num_classes,
            pretrained: false,
            pretrained_path: None,
            stem: None,
            freeze_backbone: false,
            label_smoothing: None,
            image_size: None,
        }
    }
}

/// First layers of a ResNet: those of the paper for ImageNet (`none`), or a 3x3 convolution without max-pool, of stride
/// 1 (`cifar`) or 2 (`tiny_imagenet`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stem {
    None,
    Cifar,
    TinyImagenet,
}
