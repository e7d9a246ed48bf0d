//! The memory of a tensor: copies of host memory for MPI, a slice where no other tensor shares it, an address for NCCL.

use std::ops::Range;

use tch::{Device, Kind, Tensor};

use super::ffi;
use super::pointers::raw;
use crate::error::{Error, ErrorKind, Result};

/// An element type of a tensor.
///
/// # Safety
/// Every bit pattern is a valid value. Elements of the dtypes that `fits` accepts have the size of this type, or this
/// type is a byte.
pub unsafe trait HostElement: Copy + Default {
    /// Whether the memory of a tensor of this dtype can be read and written as elements of this type.
    fn fits(kind: Kind) -> bool;
}

/// The bytes of any dtype.
// SAFETY: a byte has no invalid bit pattern.
unsafe impl HostElement for u8 {
    fn fits(_: Kind) -> bool {
        true
    }
}

// SAFETY: the type of this dtype in libtorch.
unsafe impl HostElement for f32 {
    fn fits(kind: Kind) -> bool {
        kind == Kind::Float
    }
}

// SAFETY: the type of this dtype in libtorch.
unsafe impl HostElement for f64 {
    fn fits(kind: Kind) -> bool {
        kind == Kind::Double
    }
}

// SAFETY: the type of this dtype in libtorch.
unsafe impl HostElement for i64 {
    fn fits(kind: Kind) -> bool {
        kind == Kind::Int64
    }
}

/// Number of elements of type `T` in a dense host tensor: its bytes for `u8`.
pub fn host_length<T: HostElement>(tensor: &Tensor) -> Result<usize> {
    Ok(host_memory::<T>(tensor)?.1)
}

/// A copy of elements of a dense host tensor. `range` counts in memory order.
pub fn copy_from_tensor<T: HostElement>(tensor: &Tensor, range: Range<usize>) -> Result<Vec<T>> {
    let (start, count) = host_memory::<T>(tensor)?;
    let length = checked_length(&range, count)?;
    let mut copy = vec![T::default(); length];
    // SAFETY: the tensor keeps `count` dense elements alive at `start`, the range lies within them, and `copy` is new.
    // No reference to the tensor's memory is made, so other tensors may share it.
    unsafe { std::ptr::copy_nonoverlapping(start.add(range.start), copy.as_mut_ptr(), length) };
    Ok(copy)
}

/// Replaces elements of a dense host tensor, from element `start` in memory order. Other views of the tensor see the
/// change, as with any in-place operation.
pub fn copy_to_tensor<T: HostElement>(tensor: &mut Tensor, start: usize, values: &[T]) -> Result<()> {
    let (memory, count) = host_memory::<T>(tensor)?;
    let length = checked_length(&(start..start.saturating_add(values.len())), count)?;
    // SAFETY: the tensor keeps `count` dense elements alive at `memory`, and the range lies within them. Safe code has
    // no reference to a tensor's memory except that of `unshared_slice`, whose tensor is borrowed and has no other
    // handle; so `values` lies elsewhere.
    unsafe { std::ptr::copy_nonoverlapping(values.as_ptr(), memory.add(start), length) };
    Ok(())
}

/// The elements of a dense host tensor, in memory order, if `tensor` is the only handle on its memory: then nothing
/// else reads or writes them while the slice lives. `None` if a view, another handle or an autograd graph shares it.
pub fn unshared_slice<T: HostElement>(tensor: &mut Tensor) -> Result<Option<&mut [T]>> {
    let (start, count) = host_memory::<T>(tensor)?;
    // SAFETY: a live tensor, only looked at.
    if !unsafe { ffi::regun_is_unshared(raw(tensor)) } {
        return Ok(None);
    }
    // SAFETY: the tensor keeps `count` dense elements of T alive at `start`. It is the only handle on them, and a new
    // one cannot be made from it while it is mutably borrowed. libtorch aligns storage to 64 bytes and offsets by whole
    // elements; an empty tensor's null pointer is replaced.
    Ok(Some(unsafe { std::slice::from_raw_parts_mut(start, count) }))
}

fn checked_length(range: &Range<usize>, count: usize) -> Result<usize> {
    match range.start <= range.end && range.end <= count {
        true => Ok(range.end - range.start),
        false => Err(Error::new(ErrorKind::Bug, format!("elements {range:?} of a tensor with {count}"))),
    }
}

/// Start and number of the elements of type `T` of a dense host tensor.
fn host_memory<T: HostElement>(tensor: &Tensor) -> Result<(*mut T, usize)> {
    let kind = tensor.f_kind()?;
    if tensor.device() != Device::Cpu || !T::fits(kind) {
        let text = format!(
            "wanted host memory of {}, got a {kind:?} tensor on {:?}",
            std::any::type_name::<T>(),
            tensor.device()
        );
        return Err(Error::new(ErrorKind::Bug, text));
    }
    let (start, count) = dense_memory(tensor)?;
    Ok((start.cast(), count * kind.elt_size_in_bytes() / size_of::<T>()))
}

/// Start and number of elements of a tensor without gaps, on its device. The start of an empty tensor is not null.
pub fn dense_memory(tensor: &Tensor) -> Result<(*mut u8, usize)> {
    if !is_dense(tensor) {
        let (size, stride) = (tensor.size(), tensor.stride());
        return Err(Error::new(
            ErrorKind::Bug,
            format!("wanted a dense tensor, got size {size:?}, strides {stride:?}"),
        ));
    }
    let start = match tensor.numel() {
        0 => std::ptr::NonNull::<f64>::dangling().as_ptr().cast(),
        _ => tensor.data_ptr().cast(),
    };
    Ok((start, tensor.numel()))
}

/// Whether the elements fill their memory without gap or overlap, in any order of dimensions.
fn is_dense(tensor: &Tensor) -> bool {
    let mut dimensions: Vec<(i64, i64)> =
        tensor.stride().into_iter().zip(tensor.size()).filter(|(_, size)| *size != 1).collect();
    dimensions.sort_unstable();
    let mut expected = 1;
    tensor.numel() == 0
        || dimensions.into_iter().all(|(stride, size)| {
            let fits = stride == expected;
            expected *= size;
            fits
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers() -> Tensor {
        Tensor::arange(6, (Kind::Float, Device::Cpu))
    }

    #[test]
    fn only_memory_without_another_handle_becomes_a_slice() {
        let is_unshared = |tensor: &mut Tensor| unshared_slice::<f32>(tensor).unwrap().is_some();
        let mut tensor = numbers();
        unshared_slice(&mut tensor).unwrap().unwrap()[1] = 9.0f32;
        assert_eq!(Vec::<f32>::try_from(&tensor).unwrap(), [0.0, 9.0, 2.0, 3.0, 4.0, 5.0]);
        for other in [tensor.shallow_clone(), tensor.narrow(0, 4, 1), tensor.detach()] {
            assert!(!is_unshared(&mut tensor), "{other:?}");
        }
        assert!(is_unshared(&mut tensor));
        // A view keeps its base alive.
        let mut view = tensor.view([2, 3]);
        drop(tensor);
        assert!(!is_unshared(&mut view));
        // An autograd graph keeps the tensor for its backward pass.
        let mut factor = numbers();
        let product = numbers().set_requires_grad(true) * &factor;
        assert!(!is_unshared(&mut factor));
        drop(product);
        assert!(is_unshared(&mut factor));
    }

    #[test]
    fn copies_stay_within_the_tensor_and_its_dtype() {
        let mut tensor = numbers();
        copy_to_tensor(&mut tensor, 4, &[7.0f32, 8.0]).unwrap();
        assert_eq!(copy_from_tensor::<f32>(&tensor, 3..6).unwrap(), [3.0, 7.0, 8.0]);
        assert_eq!(host_length::<u8>(&tensor).unwrap(), 24);
        assert_eq!(copy_from_tensor::<u8>(&tensor, 16..20).unwrap(), 7.0f32.to_le_bytes());
        let mut empty = numbers().narrow(0, 0, 0);
        copy_to_tensor::<f32>(&mut empty, 0, &[]).unwrap();
        assert!(copy_from_tensor::<f32>(&empty, 0..0).unwrap().is_empty());

        let is_bug = |result: Result<()>| assert_eq!(result.unwrap_err().kind(), ErrorKind::Bug);
        is_bug(copy_to_tensor(&mut tensor, 5, &[1.0f32, 2.0]));
        is_bug(copy_to_tensor(&mut tensor, usize::MAX, &[1.0f32]));
        is_bug(copy_to_tensor(&mut tensor, 0, &[1.0f64]));
        is_bug(copy_from_tensor::<i64>(&tensor, 0..1).map(drop));
        is_bug(copy_from_tensor::<f32>(&tensor.view([2, 3]).narrow(1, 0, 1), 0..1).map(drop));
    }
}
