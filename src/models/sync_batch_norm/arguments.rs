//! Arguments of a pass through BatchNorm with the statistics of all ranks.

use tch::Tensor;

/// Tensors of a BatchNorm layer, each [C].
#[derive(Debug, Clone, Copy)]
pub struct BatchNormTensors<'a> {
    pub weight: &'a Tensor,
    pub bias: &'a Tensor,
    pub running_mean: &'a Tensor,
    pub running_var: &'a Tensor,
}

/// Options of a pass.
#[derive(Debug, Clone, Copy)]
pub struct SyncNormPass {
    /// The caller takes gradients of gradients.
    pub twice_differentiable: bool,
    /// The joined batch has one value per channel. It has no unbiased variance, so `running_var` stays unchanged.
    pub single_value: bool,
}
