//! BatchNorm with the statistics of all ranks: what one process would compute on the joined batch.
//!
//! One all-reduce shows every rank the statistics of all, which each combines itself; the backward pass adds up two
//! sums in a second one. A rank without samples makes the same calls.
//!
//! Three ways to the same numbers: [`moments`] is made of operations that autograd differentiates any number of times,
//! the all-reduce among them; [`once`] computes the first derivative in one piece; [`native`] does so on GPUs with the
//! kernels that PyTorch's own SyncBatchNorm uses: far fewer launches.
//!
//! Letters: C channels, R ranks.

mod moments;
mod native;
mod once;

use std::sync::{Mutex, PoisonError};

use tch::{Device, Tensor};

use crate::error::Result;
use crate::torch::{self, AllReduce};

/// A layer's tensors, each [C].
#[derive(Debug, Clone, Copy)]
pub struct Tensors<'a> {
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

/// `x` (N, C, H, W), this rank's share of the batch, normalised, scaled and shifted, in its own dtype; moves the
/// running averages in place. N may be 0, but not on all ranks. A collective call, and so is the backward pass.
pub fn forward(ranks: &dyn AllReduce, x: &Tensor, tensors: Tensors<'_>, pass: Pass) -> Result<Tensor> {
    match x.device() {
        _ if pass.twice_differentiable => moments::forward(ranks, x, tensors, pass.single_value),
        Device::Cpu => once::forward(ranks, x, tensors, pass.single_value),
        _ => native::forward(ranks, x, tensors, pass.single_value),
    }
}

/// What a forward pass keeps for the first derivative.
trait Derivative: Send + 'static {
    /// Gradients of `x`, weight and bias. A collective call.
    fn gradients(&self, ranks: &dyn AllReduce, grad: &Tensor) -> Result<Vec<Tensor>>;
}

/// Makes `output`, which no graph knows yet, a function of these with that derivative.
fn differentiable(
    output: Tensor,
    derivative: impl Derivative,
    ranks: &dyn AllReduce,
    x: &Tensor,
    tensors: Tensors<'_>,
) -> Result<Tensor> {
    // Tensors may be sent to libtorch's threads, not shared with them.
    let (ranks, derivative) = (ranks.handle(), Mutex::new(derivative));
    torch::with_backward(&output, &[x, tensors.weight, tensors.bias], move |grad| {
        derivative.lock().unwrap_or_else(PoisonError::into_inner).gradients(&*ranks, grad)
    })?;
    Ok(output)
}

#[cfg(test)]
mod tests {
    use tch::{Kind, Tensor};

    use super::*;
    use crate::distributed::World;

    type Forward = fn(&dyn AllReduce, &Tensor, Tensors<'_>, bool) -> Result<Tensor>;

    /// Gradients of `x`, weight and bias.
    fn gradients(kind: Kind, forward: Forward, [x, weight, up]: [&Tensor; 3]) -> Vec<Tensor> {
        let leaf = |tensor: &Tensor| tensor.to_kind(kind).set_requires_grad(true);
        let (x, weight, bias) = (leaf(x), leaf(weight), leaf(&weight.zeros_like()));
        let (running_mean, running_var) = (weight.detach().copy(), weight.detach().copy());
        let tensors = Tensors { weight: &weight, bias: &bias, running_mean: &running_mean, running_var: &running_var };
        let y = forward(&World::solo(), &x, tensors, false).unwrap();
        let loss = (y.tanh() * up.to_kind(kind)).sum(Kind::Double);
        Tensor::run_backward(&[&loss], &[&x, &weight, &bias], false, false)
            .iter()
            .map(|gradient| gradient.to_kind(Kind::Double))
            .collect()
    }

    #[test]
    fn float32_derivatives_keep_their_digits() {
        tch::manual_seed(3);
        let random = |size: &[i64]| Tensor::randn(size, (Kind::Double, Device::Cpu));
        for mean in [0.0, 30.0] {
            let x = torch::to_channels_last(&(random(&[16, 8, 6, 6]) * 0.5 + mean)).unwrap().to_kind(Kind::Float);
            let (weight, up) = (random(&[8]).abs() + 0.5, random(&[16, 8, 6, 6]));
            let wanted = gradients(Kind::Double, moments::forward, [&x, &weight, &up]);
            for (name, forward) in [("moments", moments::forward as Forward), ("once", once::forward as Forward)] {
                let found = gradients(Kind::Float, forward, [&x, &weight, &up]);
                for (what, (found, wanted)) in ["x", "weight", "bias"].iter().zip(found.iter().zip(&wanted)) {
                    let apart = ((found - wanted).norm() / wanted.norm()).double_value(&[]);
                    assert!(apart < 1e-5, "{name}, by {what}, around {mean}: {apart:e} apart");
                }
            }
        }
    }
}
