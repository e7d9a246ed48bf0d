//! Autocast: a region in which libtorch runs matrix products and convolutions in a narrow dtype, and sensitive
//! operations (softmax, losses, norms) in float32. Weights stay as they are; the region casts each of them once.
//!
//! A region covers one thread. The backward pass of a GPU runs on a thread of libtorch, outside the region, and takes
//! the dtypes of the forward pass from its graph.

use std::marker::PhantomData;

use tch::{Device, Kind};

use super::error::check;
use super::ffi::{self, AutocastState};
use crate::error::Result;

/// The dtype of a region, and its type of device. Tensors on other devices are left alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Autocast {
    pub cuda: bool,
    /// `Kind::Half` or `Kind::BFloat16`; `Kind::Float` switches autocast off inside.
    pub dtype: Kind,
}

impl Autocast {
    /// For the type of `device`.
    pub fn new(device: Device, dtype: Kind) -> Self {
        Autocast { cuda: device.is_cuda(), dtype }
    }

    /// Runs `body` in such a region. Regions nest; the casts of weights are kept until the outermost one ends.
    pub fn run<T>(self, body: impl FnOnce() -> Result<T>) -> Result<T> {
        let mut before = AutocastState::default();
        // SAFETY: plain values; the shim writes `before` if it succeeds.
        check(unsafe { ffi::regun_enter_autocast(self.cuda, scalar_type(self.dtype), &mut before) })?;
        let _region = Region { before, thread: PhantomData };
        body()
    }
}

/// libtorch's number of a dtype (c10/core/ScalarType.h).
fn scalar_type(dtype: Kind) -> i32 {
    match dtype {
        Kind::Half => 5,
        Kind::BFloat16 => 15,
        _ => 6,
    }
}

/// An open region. It ends on the thread where it began.
struct Region {
    before: AutocastState,
    thread: PhantomData<*const ()>,
}

impl Drop for Region {
    fn drop(&mut self) {
        // SAFETY: plain values, those that the shim gave at the beginning. A destructor cannot return an error.
        let _ = check(unsafe { ffi::regun_leave_autocast(self.before) });
    }
}

#[cfg(test)]
mod tests {
    use tch::{Reduction, Tensor};

    use super::*;
    use crate::error::Error;

    const ON_CPU: (Kind, Device) = (Kind::Float, Device::Cpu);

    fn dtype_of_a_product() -> Kind {
        Tensor::ones([2, 3], ON_CPU).matmul(&Tensor::ones([3, 2], ON_CPU)).kind()
    }

    fn autocast(dtype: Kind) -> Autocast {
        Autocast::new(Device::Cpu, dtype)
    }

    #[test]
    fn products_are_narrow_and_losses_wide() {
        let (x, labels) = (Tensor::ones([2, 3], ON_CPU), Tensor::zeros([2], (Kind::Int64, Device::Cpu)));
        let weight = Tensor::ones([4, 3], ON_CPU).set_requires_grad(true);
        let (logits, loss) = autocast(Kind::BFloat16)
            .run(|| {
                let logits = x.f_linear::<&Tensor>(&weight, None)?;
                let loss = logits.cross_entropy_loss::<Tensor>(&labels, None, Reduction::Sum, -100, 0.0);
                Ok((logits, loss))
            })
            .unwrap();
        assert_eq!((logits.kind(), loss.kind()), (Kind::BFloat16, Kind::Float));
        // Backward is outside, and gives gradients in the weight's own dtype.
        loss.backward();
        assert_eq!(weight.grad().kind(), Kind::Float);
        assert_eq!(dtype_of_a_product(), Kind::Float);
    }

    #[test]
    fn regions_nest_and_end_after_errors_too() {
        let inside = |dtype| autocast(dtype).run(|| Ok(dtype_of_a_product())).unwrap();
        autocast(Kind::BFloat16)
            .run(|| {
                assert_eq!((inside(Kind::Float), dtype_of_a_product()), (Kind::Float, Kind::BFloat16));
                assert_eq!((inside(Kind::Half), dtype_of_a_product()), (Kind::Half, Kind::BFloat16));
                // Another thread is outside.
                assert_eq!(std::thread::spawn(dtype_of_a_product).join().unwrap(), Kind::Float);
                Ok(())
            })
            .unwrap();
        let failed: Result<()> = autocast(Kind::BFloat16).run(|| Err(Error::usage("no")));
        assert!(failed.is_err() && dtype_of_a_product() == Kind::Float);
        // Another type of device is outside.
        let elsewhere = Autocast { cuda: true, dtype: Kind::BFloat16 };
        assert_eq!(elsewhere.run(|| Ok(dtype_of_a_product())).unwrap(), Kind::Float);
    }

    /// A cast that outlived its region would hold old weights.
    #[test]
    fn weights_are_cast_anew_in_each_region() {
        let weight = Tensor::ones([2, 2], ON_CPU).set_requires_grad(true);
        let x = Tensor::ones([1, 2], ON_CPU);
        let sum =
            || autocast(Kind::BFloat16).run(|| Ok(x.matmul(&weight).sum(Kind::Double).double_value(&[]))).unwrap();
        assert_eq!(sum(), 4.0);
        let _ = tch::no_grad(|| weight.detach().fill_(3.0));
        assert_eq!(sum(), 12.0);
    }
}
