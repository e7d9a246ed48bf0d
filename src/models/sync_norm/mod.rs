//! BatchNorm with the statistics of all ranks: what one process would compute on the joined batch.
//!
//! One all-reduce shows every rank the statistics of all, which each combines itself; the backward pass adds up two sums
//! in a second one. A rank without samples makes the same calls.
//!
//! Three ways to the same numbers: [`moments`] is made of operations that autograd differentiates any number of times, the
//! all-reduce among them; [`once`] computes the first derivative in one piece; [`native`] does so on GPUs with the kernels
//! that PyTorch's own SyncBatchNorm uses: a tenth of the launches.
//!
//! Letters: C channels, R ranks.

mod moments;
mod native;
mod once;

use tch::{Device, Tensor};

use crate::dist::World;
use crate::error::Result;

/// A layer's tensors, each [C].
#[derive(Debug, Clone, Copy)]
pub struct Layer<'a> {
    pub weight: &'a Tensor,
    pub bias: &'a Tensor,
    pub running_mean: &'a Tensor,
    pub running_var: &'a Tensor,
}

/// How a pass is meant.
#[derive(Debug, Clone, Copy)]
pub struct Pass {
    /// Gradients of gradients will be taken.
    pub twice_differentiable: bool,
    /// The joined batch has one value per channel: no unbiased variance, so `running_var` stays as it is.
    pub single_value: bool,
}

/// `x` (N, C, H, W), this rank's share of the batch, normalised, scaled and shifted, in its own dtype; moves the running
/// averages in place. N may be 0, but not on all ranks. A collective call, and so is the backward pass.
pub fn forward(world: &World, x: &Tensor, layer: Layer<'_>, pass: Pass) -> Result<Tensor> {
    match x.device() {
        _ if pass.twice_differentiable => moments::forward(world, x, layer),
        Device::Cpu => once::forward(world, x, layer),
        _ => native::forward(world, x, layer, pass.single_value),
    }
}
