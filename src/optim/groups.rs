//! Which parameters have weight decay.

use crate::config::schema::{OptimConfig, OptimName};

/// PyTorch's default for AdamW; SGD's is 0.
const ADAMW_WEIGHT_DECAY: f64 = 0.01;

/// The weight decay of each parameter by name.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Groups {
    weight_decay: f64,
    exclude: bool,
}

impl Groups {
    /// `named`: whether the caller tells the optimizer the parameters' names. Only then, and only with AdamW, does
    /// `exclude_wd_norm_bias` leave biases and norm layers without decay. Swin and ViT train with names, ResNets and
    /// the unlearning methods without.
    pub fn new(optim: &OptimConfig, named: bool) -> Self {
        let adamw = optim.name == OptimName::Adamw;
        let weight_decay = optim.weight_decay.unwrap_or(if adamw { ADAMW_WEIGHT_DECAY } else { 0.0 });
        Groups { weight_decay, exclude: adamw && named && optim.exclude_wd_norm_bias == Some(true) }
    }

    pub fn weight_decay(&self, name: &str) -> f64 {
        if self.exclude && is_norm_or_bias(name) { 0.0 } else { self.weight_decay }
    }
}

/// By name alone, as the Python program does: a BatchNorm called `bn1` is not recognised.
fn is_norm_or_bias(name: &str) -> bool {
    let name = name.to_lowercase();
    name.ends_with(".bias") || name.contains("norm") || name.contains(".ln")
}
