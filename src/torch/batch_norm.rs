//! The parts of batch normalisation that SyncBatchNorm computes on each rank.

use std::ptr;

use tch::Tensor;

use super::error::check;
use super::ffi;
use super::pointers::raw;
use crate::error::Result;

/// Moments of `input` (N, C, ...) for each channel, float64 [1 + 2 C]: the number n of values per channel, the C means,
/// and the C sums of squared distances from the mean (M2). If N is 0, all of them are 0.
///
/// Autograd differentiates them any number of times; n is a constant. On a CPU the sums run in float64 for every dtype.
pub fn channel_moments(input: &Tensor) -> Result<Tensor> {
    let mut result = ptr::null_mut();
    // SAFETY: live tensor; the shim writes a new tensor to `result` if it succeeds.
    check(unsafe { ffi::regun_channel_moments(&mut result, raw(input)) })?;
    // SAFETY: that new tensor, which has no other owner.
    Ok(unsafe { Tensor::from_ptr(result) })
}

/// Derivatives of batch normalisation with the constant statistics `mean` and `var` [C], by input, weight and bias in
/// this order. `grad` is the gradient of its output.
pub fn batch_norm_backward(
    grad: &Tensor,
    input: &Tensor,
    weight: &Tensor,
    (mean, var): (&Tensor, &Tensor),
    eps: f64,
) -> Result<[Tensor; 3]> {
    let mut results = [ptr::null_mut(); 3];
    let [by_input, by_weight, by_bias] = &mut results;
    let [grad, input, weight, mean, var] = [grad, input, weight, mean, var].map(raw);
    // SAFETY: live tensors; the shim writes three new ones if it succeeds.
    check(unsafe {
        ffi::regun_batch_norm_backward(by_input, by_weight, by_bias, grad, input, weight, mean, var, eps)
    })?;
    // SAFETY: those new tensors, which have no other owner.
    Ok(results.map(|tensor| unsafe { Tensor::from_ptr(tensor) }))
}

#[cfg(test)]
mod tests {
    use tch::{Device, Kind};

    use super::*;

    #[test]
    fn moments_of_float32_are_those_of_float64() {
        tch::manual_seed(1);
        // More values than one part holds, far from zero.
        let x = Tensor::randn([40, 3, 50, 30], (Kind::Float, Device::Cpu)) + 1000.0;
        let moments = channel_moments(&x).unwrap();
        let wide = x.to_kind(Kind::Double);
        let mean = wide.mean_dim([0i64, 2, 3].as_slice(), true, None::<Kind>);
        let m2 = (&wide - &mean).square().sum_dim_intlist([0i64, 2, 3].as_slice(), false, None::<Kind>);
        let distance = |a: Tensor, b: Tensor| (a / b - 1.0).abs().max().double_value(&[]);
        assert_eq!(moments.double_value(&[0]), 40.0 * 50.0 * 30.0);
        assert!(distance(moments.narrow(0, 1, 3), mean.view(-1)) < 1e-14);
        assert!(distance(moments.narrow(0, 4, 3), m2) < 1e-11);
        assert_eq!(channel_moments(&x.narrow(0, 0, 0)).unwrap(), Tensor::zeros([7], (Kind::Double, Device::Cpu)));
    }

    #[test]
    fn moments_have_their_first_and_second_derivatives() {
        tch::manual_seed(2);
        let x = Tensor::randn([5, 2, 3, 4], (Kind::Double, Device::Cpu)).set_requires_grad(true);
        let weights = Tensor::randn([5], (Kind::Double, Device::Cpu));
        let direction = x.randn_like();
        let by_hand = || {
            let dims = [0i64, 2, 3];
            let mean = x.mean_dim(dims.as_slice(), true, None::<Kind>);
            let m2 = (&x - &mean).square().sum_dim_intlist(dims.as_slice(), false, None::<Kind>);
            Tensor::cat(&[Tensor::from_slice(&[60.0]), mean.view(-1), m2], 0)
        };
        let derivatives = |moments: Tensor| {
            let loss = (moments.square() * &weights).sum(Kind::Double);
            let first = Tensor::run_backward(&[&loss], &[&x], true, true).remove(0);
            let along = (&first * &direction).sum(Kind::Double);
            let second = Tensor::run_backward(&[along], &[&x], false, false).remove(0);
            [first.detach(), second]
        };
        for (ours, theirs) in derivatives(channel_moments(&x).unwrap()).iter().zip(derivatives(by_hand())) {
            assert!((ours - theirs).abs().max().double_value(&[]) < 1e-11);
        }
    }
}
