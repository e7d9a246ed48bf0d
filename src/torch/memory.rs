//! Tensors over memory that Rust owns; the free memory of a GPU, and the peak of this process.

use std::ffi::c_void;
use std::ops::Deref;
use std::ptr;

use tch::{Device, Tensor};

use super::error::check;
use super::ffi;
use crate::error::{Error, ErrorKind, Result};

/// A uint8 tensor of shape `size` over the bytes of `owner`, without a copy. `owner` lives until the last tensor over
/// them is gone.
///
/// The tensor must never be changed in place: the bytes may be shared with others, or be a file that is mapped
/// read-only.
pub fn tensor_over<T: Deref<Target = [u8]> + Send + 'static>(owner: T, size: &[i64]) -> Result<Tensor> {
    let wanted = size.iter().try_fold(1_i64, |product, &n| product.checked_mul(n));
    if wanted.is_none_or(|wanted| usize::try_from(wanted) != Ok(owner.len())) {
        return Err(Error::new(
            ErrorKind::Bug,
            format!("a tensor of shape {size:?} over {} bytes: the sizes differ", owner.len()),
        ));
    }
    let owner = Box::new(owner);
    let data = owner.as_ptr().cast_mut().cast::<c_void>();
    let context = Box::into_raw(owner).cast::<c_void>();
    let mut result = ptr::null_mut();
    // SAFETY: the owner does not move, in its box, until the shim's only call of `drop_owner::<T>`, so `data` holds
    // as many bytes as `size` says for as long as a tensor can read them; the caller promises that no tensor over
    // them is written. `size` is read during the call only.
    check(unsafe { ffi::regun_tensor_over(&mut result, data, size.as_ptr(), size.len(), drop_owner::<T>, context) })?;
    // SAFETY: the shim wrote a new tensor, which has no other owner.
    Ok(unsafe { Tensor::from_ptr(result) })
}

extern "C" fn drop_owner<T>(context: *mut c_void) {
    // SAFETY: the shim calls this once, at the end of the box that `tensor_over` made of a `T`.
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
        let tensor = tensor_over(owner, &[2, 3, 4]).unwrap();
        assert_eq!(tensor.data_ptr().cast_const().cast(), data);
        let row = tensor.get(1).get(2);
        drop(tensor);
        assert_eq!(dropped.load(Ordering::SeqCst), 0);
        assert_eq!(Vec::<u8>::try_from(&row).unwrap(), [20, 21, 22, 23]);
        drop(row);
        assert_eq!(dropped.load(Ordering::SeqCst), 1);
    }

    #[test]
    fn empty_tensors_and_wrong_shapes_drop_their_owner() {
        let dropped = Arc::new(AtomicUsize::new(0));
        assert_eq!(tensor_over(Counted(vec![], dropped.clone()), &[0, 3, 4, 4]).unwrap().size(), [0, 3, 4, 4]);
        for size in [&[5][..], &[2, -2], &[i64::MAX, 2]] {
            assert_eq!(tensor_over(Counted(vec![0; 4], dropped.clone()), size).unwrap_err().kind(), ErrorKind::Bug);
        }
        assert_eq!(dropped.load(Ordering::SeqCst), 4);
    }
}
