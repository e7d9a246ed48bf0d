//! Vectorising over samples: code written for one sample runs on all samples of a batch at once (functorch's `vmap`).

use std::marker::PhantomData;
use std::ptr;

use tch::Tensor;

use super::error::check;
use super::ffi;
use super::pointers::raw;
use crate::error::Result;

/// A vmap level. While it lives, libtorch's operations on this thread accept the tensors that [`Vmap::samples`]
/// returns. Ends when dropped; nested levels end in reverse order.
#[derive(Debug)]
pub struct Vmap {
    level: i64,
    /// libtorch keeps its levels for each thread.
    not_send: PhantomData<*const ()>,
}

impl Vmap {
    /// Begins a level of `samples` samples. Random operations inside are an error, because it is not defined whether
    /// samples share their random numbers.
    pub fn new(samples: i64) -> Result<Self> {
        let mut level = 0;
        // SAFETY: the shim writes the number of the new level.
        check(unsafe { ffi::regun_vmap_push(&mut level, samples) })?;
        Ok(Vmap { level, not_send: PhantomData })
    }

    /// Wraps a tensor [n, ...]: operations inside the level see it as [...], one for each sample.
    pub fn samples(&self, tensor: &Tensor) -> Result<Tensor> {
        let mut result = ptr::null_mut();
        // SAFETY: live tensor; the shim writes a new tensor to `result` if it succeeds.
        check(unsafe { ffi::regun_vmap_wrap(&mut result, raw(tensor), self.level) })?;
        // SAFETY: that new tensor, which has no other owner.
        Ok(unsafe { Tensor::from_ptr(result) })
    }

    /// Unwraps a tensor that is [...] inside the level into [n, ...]. An error if it does not depend on the sample.
    pub fn joined(&self, tensor: &Tensor) -> Result<Tensor> {
        let mut result = ptr::null_mut();
        // SAFETY: live tensor; the shim writes a new tensor to `result` if it succeeds.
        check(unsafe { ffi::regun_vmap_unwrap(&mut result, raw(tensor), self.level) })?;
        // SAFETY: that new tensor, which has no other owner.
        Ok(unsafe { Tensor::from_ptr(result) })
    }
}

impl Drop for Vmap {
    fn drop(&mut self) {
        // SAFETY: ends the level that `new` began on this thread. A destructor cannot return an error.
        let _ = check(unsafe { ffi::regun_vmap_pop() });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tch::{Device, Kind};

    #[test]
    fn code_for_one_sample_serves_all_and_autograd_sees_each() {
        let x = Tensor::arange(6, (Kind::Double, Device::Cpu)).view([3, 2]);
        // One weight for each sample, so that each has its own gradient.
        let weight = Tensor::from_slice(&[2.0, -1.0]).expand([3, 2], false).detach().set_requires_grad(true);
        let squares = {
            let vmap = Vmap::new(3).unwrap();
            let (one_x, one_weight) = (vmap.samples(&x).unwrap(), vmap.samples(&weight).unwrap());
            assert_eq!(one_x.size(), [2]);
            vmap.joined(&one_x.dot(&one_weight).square()).unwrap()
        };
        assert_eq!(Vec::<f64>::try_from(&squares).unwrap(), [1.0, 1.0, 9.0]);
        let gradient = Tensor::run_backward(&[squares.sum(Kind::Double)], &[&weight], false, false).remove(0);
        // d (w . x)^2 / dw = 2 (w . x) x
        let wanted = Tensor::from_slice(&[0.0, -2.0, 4.0, 6.0, 24.0, 30.0]).view([3, 2]);
        assert_eq!(gradient, wanted);
    }

    #[test]
    fn a_tensor_without_samples_is_refused() {
        let vmap = Vmap::new(2).unwrap();
        let error = vmap.joined(&Tensor::from(1.0)).unwrap_err();
        assert!(error.to_string().contains("same for all samples"), "{error}");
    }
}
