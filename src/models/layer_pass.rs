//! Inputs and outputs of single layers in a forward pass, from which [`per_sample`](super::per_sample) computes
//! gradients of single samples.

use tch::Tensor;

use super::layout::Slot;

/// A layer with parameters.
#[derive(Debug, Clone, Copy)]
pub enum Layer {
    /// Convolution with a square kernel, no bias and padding (k - 1) / 2.
    Conv { weight: Slot, kernel: i64, stride: i64 },
    /// BatchNorm with running statistics: an affine map per channel.
    BatchNorm { weight: Slot, bias: Slot, running_mean: Slot, running_var: Slot },
    /// Linear map of vectors (N, I), or of each position of (N, ..., I).
    Linear { weight: Slot, bias: Option<Slot> },
    /// LayerNorm over the channels of each position of (N, ..., C).
    LayerNorm { weight: Slot, bias: Slot, eps: f64 },
    /// Convolution of images whose stride equals its kernel.
    Patches { weight: Slot, bias: Slot, side: i64 },
    /// Learned token or position embedding of shape (1, ...), added to every sample.
    Embedding { parameter: Slot },
    /// Learned relative position bias of attention scores (N, W, h, L, L). Each of the L x L pairs takes its row from a
    /// table (positions, h).
    PositionBias { table: Slot, index: Slot },
}

/// One pass through a layer.
#[derive(Debug)]
pub struct LayerPass {
    pub layer: Layer,
    pub input: Tensor,
    /// Part of the autograd graph. No later operation changes it in place.
    pub output: Tensor,
}
