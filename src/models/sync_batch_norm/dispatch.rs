//! The choice between the implementations.

use tch::{Device, Tensor};

use super::arguments::{BatchNormTensors, SyncNormPass};
use super::{closed_form, differentiable, gpu};
use crate::error::Result;
use crate::torch::AllReduce;

/// Normalises `x` (N, C, H, W), this rank's shard of the batch, then scales and shifts it. The result has the dtype of
/// `x`. The pass updates the running averages in place. N may be 0, but not on all ranks. This call is collective, and
/// so is the backward pass.
pub fn forward(ranks: &dyn AllReduce, x: &Tensor, tensors: BatchNormTensors<'_>, pass: SyncNormPass) -> Result<Tensor> {
    match x.device() {
        _ if pass.twice_differentiable => differentiable::forward(ranks, x, tensors, pass.single_value),
        Device::Cpu => closed_form::forward(ranks, x, tensors, pass.single_value),
        _ => gpu::forward(ranks, x, tensors, pass.single_value),
    }
}

#[cfg(test)]
mod tests {
    use tch::Kind;

    use super::*;
    use crate::distributed::World;
    use crate::torch;

    type Forward = fn(&dyn AllReduce, &Tensor, BatchNormTensors<'_>, bool) -> Result<Tensor>;

    /// Gradients of `x`, weight and bias.
    fn gradients(kind: Kind, forward: Forward, [x, weight, up]: [&Tensor; 3]) -> Vec<Tensor> {
        let leaf = |tensor: &Tensor| tensor.to_kind(kind).set_requires_grad(true);
        let (x, weight, bias) = (leaf(x), leaf(weight), leaf(&weight.zeros_like()));
        let (running_mean, running_var) = (weight.detach().copy(), weight.detach().copy());
        let tensors =
            BatchNormTensors { weight: &weight, bias: &bias, running_mean: &running_mean, running_var: &running_var };
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
            let wanted = gradients(Kind::Double, differentiable::forward, [&x, &weight, &up]);
            for (name, forward) in [
                ("differentiable", differentiable::forward as Forward),
                ("closed form", closed_form::forward as Forward),
            ] {
                let found = gradients(Kind::Float, forward, [&x, &weight, &up]);
                for (what, (found, wanted)) in ["x", "weight", "bias"].iter().zip(found.iter().zip(&wanted)) {
                    let apart = ((found - wanted).norm() / wanted.norm()).double_value(&[]);
                    assert!(apart < 1e-5, "{name}, by {what}, around {mean}: {apart:e} apart");
                }
            }
        }
    }
}
