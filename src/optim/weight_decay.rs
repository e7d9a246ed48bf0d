//! Weight decay by parameter name.

use crate::config::schema::{OptimConfig, OptimName};

/// PyTorch's default for AdamW. The default for SGD is 0.
const ADAMW_WEIGHT_DECAY: f64 = 0.01;

/// The rule for the weight decay of each parameter. Parameters with the same decay form a group.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct WeightDecayGroups {
    weight_decay: f64,
    /// Biases and norm layers have no decay.
    exclude_norm_bias: bool,
}

impl WeightDecayGroups {
    /// `named` is true if the optimizer gets the names of the parameters: Swin and ViT train with names, ResNets and
    /// the unlearning methods without. With AdamW and names, `exclude_wd_norm_bias` leaves biases and norm layers
    /// without decay. In all other cases it has no effect.
    pub fn new(optim: &OptimConfig, named: bool) -> Self {
        let adamw = optim.name == OptimName::Adamw;
        let weight_decay = optim.weight_decay.unwrap_or(if adamw { ADAMW_WEIGHT_DECAY } else { 0.0 });
        WeightDecayGroups {
            weight_decay,
            exclude_norm_bias: adamw && named && optim.exclude_wd_norm_bias == Some(true),
        }
    }

    /// The weight decay of the parameter `name`.
    pub fn weight_decay(&self, name: &str) -> f64 {
        if self.exclude_norm_bias && is_norm_or_bias(name) { 0.0 } else { self.weight_decay }
    }
}

/// True for biases and norm layers, judged by the name alone as in the Python program. A BatchNorm called `bn1` is not
/// recognised.
fn is_norm_or_bias(name: &str) -> bool {
    let name = name.to_lowercase();
    name.ends_with(".bias") || name.contains("norm") || name.contains(".ln")
}
