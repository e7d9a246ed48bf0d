//! What backward leaves at leaves, taken many at a time.

use tch::Tensor;

use super::{check, ffi, pointers, raw};
use crate::error::Result;

/// Leaves `grad` at `leaf`, as a backward pass would. Both have the same shape, dtype and device.
pub fn set_grad(leaf: &Tensor, grad: &Tensor) -> Result<()> {
    // SAFETY: both pointers come from live tensors that outlive the call; the shim checks what autograd demands and
    // takes a reference of its own to `grad`.
    check(unsafe { ffi::regun_set_grad(raw(leaf), raw(grad)) })
}

/// Leaves, and where their gradients are added up.
///
/// Backward leaves a new tensor at each leaf. Taken from there together, they cost a GPU a few kernels; a pass that
/// adds to a tensor that is there already launches one for each leaf.
#[derive(Debug, Default)]
pub struct GradSums {
    leaves: Vec<Tensor>,
    sums: Vec<Tensor>,
}

impl GradSums {
    /// `sum` has the shape, dtype and device of the leaf.
    pub fn push(&mut self, leaf: &Tensor, sum: Tensor) {
        self.leaves.push(leaf.shallow_clone());
        self.sums.push(sum);
    }

    /// The same leaves and sums, for another thread.
    pub fn shallow_clone(&self) -> Self {
        let clone = |tensors: &[Tensor]| tensors.iter().map(Tensor::shallow_clone).collect();
        GradSums { leaves: clone(&self.leaves), sums: clone(&self.sums) }
    }

    /// Adds what backward has left at the leaves, and takes it away. A leaf without a gradient adds nothing.
    pub fn add(&self) -> Result<()> {
        let (leaves, sums) = (pointers(&self.leaves), pointers(&self.sums));
        // SAFETY: as many pointers to live tensors in each, which outlive the call.
        check(unsafe { ffi::regun_accumulate_grads(leaves.as_ptr(), sums.as_ptr(), leaves.len()) })
    }
}

/// Adds 1 to each of these, in place.
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
    fn gradients_are_added_up_once_whoever_left_them() {
        let [used, unused, given] = [(); 3].map(|()| zeros(&[2, 3]).set_requires_grad(true));
        let mut grads = GradSums::default();
        let sums: Vec<Tensor> = (1..=3).map(|start| zeros(&[2, 3]) + start).collect();
        for (leaf, sum) in [&used, &unused, &given].into_iter().zip(&sums) {
            grads.push(leaf, sum.shallow_clone());
        }
        (&used * 3.0).sum(Kind::Float).backward();
        set_grad(&given, &(zeros(&[3, 2]) + 7).transpose(0, 1)).unwrap();
        grads.add().unwrap();
        grads.add().unwrap(); // nothing is left
        let got: Vec<f64> = sums.iter().map(|sum| sum.mean(Kind::Double).double_value(&[])).collect();
        assert_eq!(got, [4.0, 2.0, 10.0]);
        assert!(!used.grad().defined() && !given.grad().defined());
    }
}
