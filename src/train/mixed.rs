//! Mixed precision (Micikevicius et al. 2018, arXiv 1710.03740): weights, gradients and losses are float32, matrix
//! products and convolutions of the forward pass, and so of the backward pass, compute in 16 bits.
//!
//! Only training steps are mixed. Preparations (saliency, Fisher information, attacks, pruning) and all evaluation are
//! float32. float16 has a small range of exponents, so the loss is scaled up: small gradients must not vanish, and
//! large ones must not overflow. The factor is found by trial ([`LossScale`]).

use tch::{Device, Kind, Tensor, no_grad};

use crate::config::schema::Precision;
use crate::error::Result;
use crate::optim::FlatParams;
use crate::torch::Autocast;

/// The dtypes of a training step in mixed precision.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Mixed {
    pub autocast: Autocast,
    pub loss_scale: Option<LossScale>,
}

impl Mixed {
    /// The configured precision, for GPUs. None if all tensors have one dtype.
    pub fn new(precision: Precision) -> Option<Self> {
        let (dtype, loss_scale) = match precision {
            Precision::F32 | Precision::F64 => return None,
            Precision::Bf16Mixed => (Kind::BFloat16, None),
            Precision::F16Mixed => (Kind::Half, Some(LossScale::default())),
        };
        Some(Mixed { autocast: Autocast { cuda: true, dtype }, loss_scale })
    }

    /// True if mixed precision applies to `device`. On devices of another type everything is float32.
    pub fn applies_to(&self, device: Device) -> bool {
        self.autocast.cuda == device.is_cuda()
    }
}

/// Runs a forward pass of a training step, under autocast if `mixed` is given. The result is float32 or float64, as
/// losses need it.
pub fn forward(mixed: Option<Mixed>, pass: impl FnOnce() -> Result<Tensor>) -> Result<Tensor> {
    let Some(mixed) = mixed else { return pass() };
    mixed.autocast.run(|| {
        let output = pass()?;
        match output.f_kind()? {
            Kind::Half | Kind::BFloat16 => Ok(output.f_to_kind(Kind::Float)?),
            _ => Ok(output),
        }
    })
}

/// The rule of the loss scale, with the numbers of PyTorch's `GradScaler`: a step with a gradient that is not finite
/// changes no weight and lowers the scale, a row of finite steps raises it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LossScale {
    pub initial: f64,
    pub growth: f64,
    pub backoff: f64,
    /// Finite steps in a row until the scale grows.
    pub interval: i64,
}

impl Default for LossScale {
    fn default() -> Self {
        LossScale { initial: 65536.0, growth: 2.0, backoff: 0.5, interval: 2000 }
    }
}

/// The loss scale and its history, on the device. It is the same on all ranks, since it follows from the all-reduced
/// gradient.
#[derive(Debug)]
pub struct LossScaler {
    rule: LossScale,
    /// float32 scalar.
    scale: Tensor,
    /// int32 scalar: finite steps in a row.
    growth_tracker: Tensor,
}

impl LossScaler {
    pub fn new(rule: LossScale, device: Device) -> Result<Self> {
        let scale = Tensor::f_full([0i64; 0], rule.initial, (Kind::Float, device))?;
        let growth_tracker = Tensor::f_zeros([0i64; 0], (Kind::Int, device))?;
        Ok(LossScaler { rule, scale, growth_tracker })
    }

    /// The factor of the losses, a float32 scalar.
    pub fn scale(&self) -> &Tensor {
        &self.scale
    }

    /// Divides the gradients by the scale. The scale is a power of two, so the division is exact.
    pub fn unscale(&self, params: &mut FlatParams) -> Result<()> {
        no_grad(|| {
            let inverse = self.scale.f_reciprocal()?;
            for group in params.groups_mut() {
                let _ = group.grads.f_mul_(&inverse)?;
            }
            Ok(())
        })
    }

    /// Adapts the scale after a step. `skip`, a float32 scalar, is 1 if the gradient was not finite.
    pub fn update(&mut self, skip: &Tensor) -> Result<()> {
        let LossScale { growth, backoff, interval, .. } = self.rule;
        let _ =
            no_grad(|| self.scale.f_internal_amp_update_scale_(&self.growth_tracker, skip, growth, backoff, interval))?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Computed by hand: half after a bad step, double after two good ones in a row.
    #[test]
    fn the_loss_scale_follows_the_steps() {
        let rule = LossScale { initial: 8.0, interval: 2, ..LossScale::default() };
        let mut scaler = LossScaler::new(rule, Device::Cpu).unwrap();
        let mut after = |bad: f32| {
            scaler.update(&Tensor::from(bad)).unwrap();
            scaler.scale().double_value(&[])
        };
        let steps = [1.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0];
        assert_eq!(steps.map(&mut after), [4.0, 4.0, 2.0, 2.0, 4.0, 4.0, 8.0]);
    }

    #[test]
    fn one_dtype_for_all_is_not_mixed() {
        assert_eq!([Precision::F32, Precision::F64].map(Mixed::new), [None, None]);
        let half = Mixed::new(Precision::F16Mixed).unwrap();
        assert!(half.loss_scale.is_some() && half.applies_to(Device::Cuda(1)) && !half.applies_to(Device::Cpu));
    }
}
