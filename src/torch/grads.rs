//! Takes the gradients of many parameters in one call.

use tch::Tensor;

use super::error::check;
use super::ffi;
use super::pointers::{pointers, raw};
use crate::error::Result;

/// Makes `grad` the gradient of `leaf`, as a backward pass would. Both have the same shape, dtype and device.
pub fn set_grad(leaf: &Tensor, grad: &Tensor) -> Result<()> {
    // SAFETY: both pointers come from live tensors that outlive the call; the shim checks what autograd demands and
    // takes a reference of its own to `grad`.
    check(unsafe { ffi::regun_set_grad(raw(leaf), raw(grad)) })
}

/// Adds the gradients of many parameters to buffers, all in one call.
///
/// A backward pass sets a new gradient tensor on each parameter that has none. Adding all of these at once takes a few
/// kernels on a GPU. A backward pass that adds to existing gradients launches one kernel for each parameter.
#[derive(Debug, Default)]
pub struct GradAccumulator {
    leaves: Vec<Tensor>,
    sums: Vec<Tensor>,
}

impl GradAccumulator {
    /// Adds a parameter: `leaf` gets the gradients, `sum` (same shape, dtype and device) accumulates them.
    pub fn push(&mut self, leaf: &Tensor, sum: Tensor) {
        self.leaves.push(leaf.shallow_clone());
        self.sums.push(sum);
    }

    /// A handle on the same parameters and buffers, for another thread.
    pub fn shallow_clone(&self) -> Self {
        let clone = |tensors: &[Tensor]| tensors.iter().map(Tensor::shallow_clone).collect();
        GradAccumulator { leaves: clone(&self.leaves), sums: clone(&self.sums) }
    }

    /// Adds the gradients of all parameters to their buffers, and clears the gradients. A parameter without a gradient
    /// adds nothing.
    pub fn add(&self) -> Result<()> {
        let (leaves, sums) = (pointers(&self.leaves), pointers(&self.sums));
        // SAFETY: as many pointers to live tensors in each, which outlive the call.
        check(unsafe { ffi::regun_accumulate_grads(leaves.as_ptr(), sums.as_ptr(), leaves.len()) })
    }
}

/// Adds 1 to each tensor, in place. On a GPU this takes a few kernels.
pub fn add_one(tensors: &[Tensor]) -> Result<()> {
    let tensors = pointers(tensors);
    // SAFETY: pointers to live tensors, which outlive the call.
    check(unsafe { ffi::regun_add_one(tensors.as_ptr(), tensors.len()) })
}

#[cfg(test)]
mod tests {
    use tch::{Device, Kind};

    use super::*;

    fn zeros(size: &[i64]) -> Tensor {
        Tensor::zeros(size, (Kind::Float, Device::Cpu))
    }

    #[test]
    fn a_gradient_must_fit_its_leaf() {
        let leaf = zeros(&[2, 3]).set_requires_grad(true);
        let message = |leaf: &Tensor, grad: &Tensor| set_grad(leaf, grad).unwrap_err().message().to_owned();
        assert!(message(&leaf, &zeros(&[3, 2])).contains("gradient of [3, 2]"));
        assert!(message(&leaf, &zeros(&[2, 3]).to_kind(Kind::Double)).contains("Double"));
        assert!(message(&zeros(&[2, 3]), &zeros(&[2, 3])).contains("leaf"));
    }

    #[test]
    fn each_gradient_is_added_once() {
        let [used, unused, given] = [(); 3].map(|()| zeros(&[2, 3]).set_requires_grad(true));
        let mut grads = GradAccumulator::default();
        let sums: Vec<Tensor> = (1..=3).map(|start| zeros(&[2, 3]) + start).collect();
        for (leaf, sum) in [&used, &unused, &given].into_iter().zip(&sums) {
            grads.push(leaf, sum.shallow_clone());
        }
        (&used * 3.0).sum(Kind::Float).backward();
        set_grad(&given, &(zeros(&[3, 2]) + 7).transpose(0, 1)).unwrap();
        grads.add().unwrap();
        grads.add().unwrap(); // no gradients any more
        let got: Vec<f64> = sums.iter().map(|sum| sum.mean(Kind::Double).double_value(&[])).collect();
        assert_eq!(got, [4.0, 2.0, 10.0]);
        assert!(!used.grad().defined() && !given.grad().defined());

        let mut misfit = GradAccumulator::default();
        misfit.push(&used, zeros(&[6]));
        (&used * 3.0).sum(Kind::Float).backward();
        assert!(misfit.add().unwrap_err().message().contains("gradient of [2, 3] on cpu for a sum of [6]"));
    }
}
