//! BatchNorm made of operations that autograd differentiates any number of times, the all-reduce included.

use tch::Tensor;

use super::arguments::BatchNormTensors;
use super::moments::BatchMoments;
use crate::error::Result;
use crate::torch::AllReduce;

/// The forward pass. A collective call.
pub fn forward(ranks: &dyn AllReduce, x: &Tensor, tensors: BatchNormTensors<'_>, single_value: bool) -> Result<Tensor> {
    let moments = BatchMoments::new(ranks, x)?;
    moments.update_running(tensors, single_value)?;
    moments.normalise(x, tensors)
}
