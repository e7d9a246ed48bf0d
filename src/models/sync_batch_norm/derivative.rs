//! A hand-written first derivative as a node of the autograd graph.

use std::sync::{Mutex, PoisonError};

use tch::Tensor;

use super::arguments::BatchNormTensors;
use crate::error::Result;
use crate::torch::{self, AllReduce};

/// Tensors that a forward pass saves, and the first derivative that follows from them.
pub trait Derivative: Send + 'static {
    /// Gradients of `x`, weight and bias from the gradient of the output. A collective call.
    fn gradients(&self, ranks: &dyn AllReduce, grad: &Tensor) -> Result<Vec<Tensor>>;
}

/// Attaches `derivative` to `output`, which is in no graph yet: output becomes a function of x, weight and bias.
pub fn differentiable(
    output: Tensor,
    derivative: impl Derivative,
    ranks: &dyn AllReduce,
    x: &Tensor,
    tensors: BatchNormTensors<'_>,
) -> Result<Tensor> {
    // libtorch's threads may own a tensor, but not share it. The mutex makes the closure shareable.
    let (ranks, derivative) = (ranks.handle(), Mutex::new(derivative));
    torch::with_backward(&output, &[x, tensors.weight, tensors.bias], move |grad| {
        derivative.lock().unwrap_or_else(PoisonError::into_inner).gradients(&*ranks, grad)
    })?;
    Ok(output)
}
