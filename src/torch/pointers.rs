//! Tensors as the pointers that the shim takes and returns.

use std::ptr::{self, NonNull};

use tch::Tensor;
use torch_sys::C_tensor;

use crate::error::{Error, ErrorKind, Result};

/// The pointer of a tensor. The shim takes `at::Tensor *` without const, as torch-sys does; it changes only the tensors
/// that the comments in `shim.h` name.
pub fn raw(tensor: &Tensor) -> *mut C_tensor {
    tensor.as_ptr().cast_mut()
}

/// The pointers of all tensors, in their order.
pub fn pointers(tensors: &[Tensor]) -> Vec<*mut C_tensor> {
    tensors.iter().map(raw).collect()
}

/// The pointer of a tensor; null for `None`.
pub fn raw_or_null(tensor: Option<&Tensor>) -> *mut C_tensor {
    tensor.map_or(ptr::null_mut(), raw)
}

/// The object that a successful shim call returned. A null pointer is an error.
pub fn not_null<T>(pointer: *mut T) -> Result<NonNull<T>> {
    NonNull::new(pointer).ok_or_else(missing_result)
}

/// The error of a shim call that reports success without a result.
pub fn missing_result() -> Error {
    Error::new(ErrorKind::Bug, "the C++ shim reported success and returned no result")
}
