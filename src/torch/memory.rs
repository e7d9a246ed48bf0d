//! Tensors that are only read, over memory that Rust owns; the free memory of a GPU, and the peak of this process.

use std::ffi::c_void;
use std::ops::Deref;
use std::ptr;

use tch::{Device, Tensor};

use super::error::check;
use super::ffi;
use crate::error::{Error, ErrorKind, Result};

/// A tensor that is only read, because others share its memory: parts of the program, or processes that map the same
/// file. It hands out no handle through which the memory could be changed.
pub struct SharedTensor(Tensor);

impl SharedTensor {
    /// A uint8 tensor of shape `size` over the bytes of `owner`, without a copy. `owner` lives until the last tensor
    /// over them is gone.
    ///
    /// # Errors
    /// `Bug` if the sizes differ.
    pub fn over<T: Deref<Target = [u8]> + Send + 'static>(owner: T, size: &[i64]) -> Result<Self> {
        let owner = Box::new(owner);
        // The only call of `deref`: another call might return other bytes.
        let bytes: &[u8] = &owner;
        let wanted = size.iter().try_fold(1_i64, |product, &n| product.checked_mul(n));
        if wanted.is_none_or(|wanted| usize::try_from(wanted) != Ok(bytes.len())) {
            return Err(Error::new(
                ErrorKind::Bug,
                format!("a tensor of shape {size:?} over {} bytes: the sizes differ", bytes.len()),
            ));
        }
        let data = bytes.as_ptr().cast_mut().cast::<c_void>();
        let context = Box::into_raw(owner).cast::<c_void>();
        let mut result = ptr::null_mut();
        // SAFETY: the owner does not move, in its box, until the shim's only call of `drop_owner::<T>`, so `data` holds
        // as many bytes as `size` says for as long as a tensor can read them. `SharedTensor` never writes to them.
        // `size` is read during the call only.
        check(unsafe {
            ffi::regun_tensor_over(&mut result, data, size.as_ptr(), size.len(), drop_owner::<T>, context)
        })?;
        // SAFETY: the shim wrote a new tensor, which has no other owner.
        Ok(SharedTensor(unsafe { Tensor::from_ptr(result) }))
    }

    /// The tensor on `device`. A tensor that is already there is not copied.
    pub fn to_device(self, device: Device) -> Result<Self> {
        Ok(SharedTensor(self.0.f_to_device(device)?))
    }

    pub fn device(&self) -> Device {
        self.0.device()
    }

    /// A copy of the rows with these indices (int64 [n], on the same device).
    pub fn rows(&self, indices: &Tensor) -> Result<Tensor> {
        Ok(self.0.f_index_select(0, indices)?)
    }
}

impl From<Tensor> for SharedTensor {
    fn from(tensor: Tensor) -> Self {
        SharedTensor(tensor)
    }
}

extern "C" fn drop_owner<T>(context: *mut c_void) {
    // SAFETY: the shim calls this once, at the end of the box that `SharedTensor::over` made of a `T`.
    drop(unsafe { Box::from_raw(context.cast::<T>()) });
}

/// Free bytes of a GPU; `None` for the CPU.
pub fn free_device_memory(device: Device) -> Result<Option<u64>> {
    let Device::Cuda(index) = device else { return Ok(None) };
    let (mut free, mut total) = (0, 0);
    // SAFETY: the shim writes both numbers; it checks the index.
    check(unsafe { ffi::regun_cuda_memory(index as i32, &mut free, &mut total) })?;
    Ok(Some(free))
}

/// The most memory of a GPU that this process held since its start, in bytes. Neither number includes the memory that
/// CUDA and NCCL take for themselves.
#[derive(Debug, Clone, Copy, serde::Serialize)]
pub struct PeakDeviceMemory {
    /// In tensors.
    #[serde(rename = "peak_allocated")]
    pub allocated: u64,
    /// In libtorch's allocator, which serves the tensors.
    #[serde(rename = "peak_reserved")]
    pub reserved: u64,
}

/// Peak memory of a GPU; `None` for the CPU.
pub fn peak_device_memory(device: Device) -> Result<Option<PeakDeviceMemory>> {
    let Device::Cuda(index) = device else { return Ok(None) };
    let (mut allocated, mut reserved) = (0, 0);
    // SAFETY: the shim writes both numbers; it checks the index.
    check(unsafe { ffi::regun_cuda_peak_memory(index as i32, &mut allocated, &mut reserved) })?;
    Ok(Some(PeakDeviceMemory { allocated, reserved }))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    struct Counted(Vec<u8>, Arc<AtomicUsize>);

    impl Deref for Counted {
        type Target = [u8];
        fn deref(&self) -> &[u8] {
            &self.0
        }
    }

    impl Drop for Counted {
        fn drop(&mut self) {
            self.1.fetch_add(1, Ordering::SeqCst);
        }
    }

    #[test]
    fn the_bytes_live_as_long_as_the_last_tensor_and_are_not_copied() {
        let dropped = Arc::new(AtomicUsize::new(0));
        let owner = Counted((0..24).collect(), dropped.clone());
        let data = owner.as_ptr();
        let tensor = SharedTensor::over(owner, &[2, 3, 4]).unwrap().to_device(Device::Cpu).unwrap();
        assert_eq!(tensor.0.data_ptr().cast_const().cast(), data);
        let row = tensor.0.get(1).get(2);
        let mut copy = tensor.rows(&Tensor::from_slice(&[1i64])).unwrap();
        let _ = copy.zero_();
        drop(tensor);
        assert_eq!(dropped.load(Ordering::SeqCst), 0);
        assert_eq!(Vec::<u8>::try_from(&row).unwrap(), [20, 21, 22, 23]);
        drop(row);
        assert_eq!(dropped.load(Ordering::SeqCst), 1);
    }

    /// An owner whose bytes get fewer with each look at them.
    struct Shrinking(Vec<u8>, AtomicUsize);

    impl Deref for Shrinking {
        type Target = [u8];
        fn deref(&self) -> &[u8] {
            &self.0[self.1.fetch_add(2, Ordering::SeqCst)..]
        }
    }

    #[test]
    fn an_owner_is_looked_at_once() {
        let owner = Shrinking((0..4).collect(), AtomicUsize::new(0));
        let tensor = SharedTensor::over(owner, &[4]).unwrap();
        assert_eq!(Vec::<u8>::try_from(&tensor.0).unwrap(), [0, 1, 2, 3]);
    }

    #[test]
    fn empty_tensors_and_wrong_shapes_drop_their_owner() {
        let dropped = Arc::new(AtomicUsize::new(0));
        let empty = SharedTensor::over(Counted(vec![], dropped.clone()), &[0, 3, 4, 4]).unwrap();
        assert_eq!(empty.0.size(), [0, 3, 4, 4]);
        drop(empty);
        for size in [&[5][..], &[2, -2], &[i64::MAX, 2]] {
            let refused = SharedTensor::over(Counted(vec![0; 4], dropped.clone()), size).map(drop);
            assert_eq!(refused.unwrap_err().kind(), ErrorKind::Bug);
        }
        assert_eq!(dropped.load(Ordering::SeqCst), 4);
    }
}
