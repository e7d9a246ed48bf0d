//! Optimizer steps of libtorch that update a whole parameter buffer in one pass over memory.

use tch::Tensor;

use super::error::check;
use super::ffi;
use super::pointers::{raw, raw_or_null};
use crate::error::Result;

/// The inputs of an optimizer step that change from step to step.
#[derive(Debug, Clone, Copy)]
pub struct Update<'a> {
    /// The learning rate, a scalar: float64 on the CPU, or float32 on the parameters' device for the kernel.
    pub lr: &'a Tensor,
    /// A float32 scalar on the parameters' device. If it is 1, the step changes nothing.
    pub skip: Option<&'a Tensor>,
}

/// The settings of SGD, apart from the learning rate.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SgdSettings {
    pub momentum: f64,
    pub nesterov: bool,
}

/// One SGD update of `values` in place, in one pass: `d = g + weight_decay * w`, `b = momentum * b + d`,
/// `w -= lr * (nesterov ? d + momentum * b : b)`. All three tensors have the same shape and dtype.
pub fn fused_sgd(
    values: &mut Tensor,
    grads: &Tensor,
    momentum_buffer: &mut Tensor,
    update: Update<'_>,
    weight_decay: f64,
    settings: SgdSettings,
) -> Result<()> {
    let SgdSettings { momentum, nesterov } = settings;
    let (values, grads, buffer) = (raw(values), raw(grads), raw(momentum_buffer));
    let (lr, skip) = (raw(update.lr), raw_or_null(update.skip));
    // SAFETY: live tensors (`skip` may be null), changed only through the two unique borrows; the shim checks shapes
    // and dtypes.
    check(unsafe { ffi::regun_fused_sgd(values, grads, buffer, lr, momentum, weight_decay, nesterov, skip) })
}

/// The settings of AdamW, apart from the learning rate.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AdamwSettings {
    pub betas: [f64; 2],
    pub eps: f64,
}

/// The moments of AdamW. Both averages have the shape and dtype of the values. `step` is a float32 scalar that counts
/// the updates, this one included.
#[derive(Debug)]
pub struct AdamwMoments<'a> {
    pub exp_avg: &'a mut Tensor,
    pub exp_avg_sq: &'a mut Tensor,
    pub step: &'a Tensor,
}

/// One AdamW update (decoupled weight decay) of `values` in place, in one pass.
pub fn fused_adamw(
    values: &mut Tensor,
    grads: &Tensor,
    moments: AdamwMoments<'_>,
    update: Update<'_>,
    weight_decay: f64,
    settings: AdamwSettings,
) -> Result<()> {
    let AdamwSettings { betas: [beta1, beta2], eps } = settings;
    let AdamwMoments { exp_avg, exp_avg_sq, step } = moments;
    let (values, grads) = (raw(values), raw(grads));
    let (exp_avg, exp_avg_sq, step) = (raw(exp_avg), raw(exp_avg_sq), raw(step));
    let (lr, skip) = (raw(update.lr), raw_or_null(update.skip));
    // SAFETY: live tensors (`skip` may be null), changed only through the three unique borrows; the shim checks
    // shapes and dtypes.
    check(unsafe {
        ffi::regun_fused_adamw(values, grads, exp_avg, exp_avg_sq, step, lr, beta1, beta2, weight_decay, eps, skip)
    })
}

#[cfg(test)]
mod tests {
    use tch::{Device, Kind};

    use super::*;

    #[test]
    fn buffers_that_do_not_fit_are_refused() {
        let zeros = |n: i64, kind| Tensor::zeros([n], (kind, Device::Cpu));
        let lr = Tensor::from(0.1);
        let step = |grads: &Tensor, momentum: &mut Tensor, lr: &Tensor| {
            let settings = SgdSettings { momentum: 0.9, nesterov: false };
            let update = Update { lr, skip: None };
            fused_sgd(&mut zeros(8, Kind::Float), grads, momentum, update, 0.0, settings)
        };
        let float = |n| zeros(n, Kind::Float);
        step(&float(8), &mut float(8), &lr).unwrap();
        for (grads, mut momentum) in [
            (float(4), float(8)),
            (float(8), float(4)),
            (zeros(8, Kind::Double), float(8)),
            (float(16).slice(0, None, None, 2), float(8)),
            (float(8).view([2, 4]), float(8)),
        ] {
            let error = step(&grads, &mut momentum, &lr).unwrap_err();
            assert!(error.message().contains("a fused step of values [8] Float on cpu"), "{error}");
        }
        assert!(step(&float(8), &mut float(8), &zeros(0, Kind::Double)).unwrap_err().message().contains("shape [0]"));

        let mut moments = [float(8), float(4)];
        let [exp_avg, exp_avg_sq] = &mut moments;
        let moments = AdamwMoments { exp_avg, exp_avg_sq, step: &zeros(1, Kind::Float) };
        let settings = AdamwSettings { betas: [0.9, 0.999], eps: 1e-8 };
        let update = Update { lr: &lr, skip: None };
        let error = fused_adamw(&mut float(8), &float(8), moments, update, 0.0, settings).unwrap_err();
        assert!(error.message().contains("with a buffer [4]"), "{error}");
    }
}
