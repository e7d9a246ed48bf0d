//! Tensors as the pointers that the shim takes and returns.

use std::ptr::{self, NonNull};

use tch::Tensor;
use torch_sys::C_tensor;

use crate::error::{Error, ErrorKind, Result};

/// The shim takes `at::Tensor *` without const, as torch-sys does. It changes no more than its comments say.
pub fn raw(tensor: &Tensor) -> *mut C_tensor {
    tensor.as_ptr().cast_mut()
}

/// The pointers of all tensors, in their order.
pub fn pointers(tensors: &[Tensor]) -> Vec<*mut C_tensor> {
    tensors.iter().map(raw).collect()
}

/// Null stands for `None`.
pub fn raw_or_null(tensor: Option<&Tensor>) -> *mut C_tensor {
    tensor.map_or(ptr::null_mut(), raw)
}

/// An error for a shim call that succeeded and still returned a null object.
pub fn not_null<T>(pointer: *mut T) -> Result<NonNull<T>> {
    NonNull::new(pointer).ok_or_else(missing_result)
}

/// A shim call reported success and gave no result.
pub fn missing_result() -> Error {
    Error::new(ErrorKind::Bug, "the C++ shim reported success and returned no result")
}
