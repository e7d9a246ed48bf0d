//! BatchNorm made of operations that autograd differentiates any number of times, the all-reduce included.

use tch::Tensor;

use super::arguments::BatchNormTensors;
use super::moments::BatchMoments;
use crate::error::Result;
use crate::torch::AllReduce;

pub fn forward(ranks: &dyn AllReduce, x: &Tensor, tensors: BatchNormTensors<'_>, single_value: bool) -> Result<Tensor> {
    let moments = BatchMoments::of(ranks, x)?;
    moments.update_running(tensors, single_value)?;
    moments.normalise(x, tensors)
}
