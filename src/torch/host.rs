//! The memory of a tensor: as a slice of host memory for MPI, as an address for NCCL.

use tch::{Device, Kind, Tensor};

use crate::error::{Error, ErrorKind, Result};

/// An element type whose values have no invalid bit patterns.
pub trait HostElement {
    const KIND: Kind;
}

impl HostElement for f32 {
    const KIND: Kind = Kind::Float;
}

impl HostElement for f64 {
    const KIND: Kind = Kind::Double;
}

impl HostElement for i64 {
    const KIND: Kind = Kind::Int64;
}

/// The elements of a dense host tensor of dtype `T`, in memory order. Other views of the tensor see the changes, as
/// with any in-place operation.
pub fn host_slice_mut<T: HostElement>(tensor: &mut Tensor) -> Result<&mut [T]> {
    if tensor.f_kind()? != T::KIND {
        return Err(Error::new(
            ErrorKind::Bug,
            format!("wanted a {:?} slice, got a {:?} tensor", T::KIND, tensor.f_kind()?),
        ));
    }
    let (start, count) = host_memory(tensor)?;
    // SAFETY: the tensor keeps `count` dense elements of T alive at `start` for as long as it is borrowed; libtorch
    // aligns storage to 64 bytes and offsets by whole elements; an empty tensor's null pointer is replaced.
    Ok(unsafe { std::slice::from_raw_parts_mut(start.cast::<T>(), count) })
}

/// The bytes of a dense host tensor of any dtype, in memory order.
pub fn host_bytes_mut(tensor: &mut Tensor) -> Result<&mut [u8]> {
    let size = tensor.f_kind()?.elt_size_in_bytes();
    let (start, count) = host_memory(tensor)?;
    // SAFETY: the tensor keeps `count` dense elements of `size` bytes alive at `start` for as long as it is borrowed.
    // Any byte may be written to memory of the dtypes that `HostElement` lists, and callers write the bytes of a tensor
    // of the same dtype.
    Ok(unsafe { std::slice::from_raw_parts_mut(start, count * size) })
}

fn host_memory(tensor: &Tensor) -> Result<(*mut u8, usize)> {
    match tensor.device() {
        Device::Cpu => dense_memory(tensor),
        device => Err(Error::new(ErrorKind::Bug, format!("wanted host memory, got a tensor on {device:?}"))),
    }
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
