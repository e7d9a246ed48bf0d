//! Constants that all layers of a Swin share.

use crate::models::init::Init;

/// Added to the variance in LayerNorm.
pub const EPS: f64 = 1e-5;

/// Initial weights of linear layers and position tables. torchvision truncates this distribution at +-2, which is 100
/// standard deviations away.
pub const WEIGHT: Init = Init::Normal { std: 0.02 };
/// Initial biases.
pub const BIAS: Init = Init::Constant(0.0);
