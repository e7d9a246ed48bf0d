//! Settings of the process that concern libtorch and the libraries that it loads; libtorch's version.

use std::ffi::CStr;

use super::error::check;
use super::ffi;
use crate::error::Result;

/// Keeps freed host memory in the process instead of returning it to the kernel after every tensor.
///
/// The activations of a CPU training step are large. Giving their pages back and getting them zeroed again costs about
/// a tenth of the step. Call it once, at the very start of the program: only memory allocated afterwards is kept. Does
/// nothing without glibc.
pub fn keep_freed_memory() {
    // SAFETY: sets parameters of malloc; no memory changes hands.
    unsafe { ffi::regun_keep_freed_memory() }
}

/// Version of libtorch, like `2.11.0`.
pub fn version() -> String {
    // SAFETY: the shim returns a string literal.
    unsafe { CStr::from_ptr(ffi::regun_torch_version()) }.to_string_lossy().into_owned()
}

/// Sets an environment variable for libraries that start later. A variable that is already set stays as it is.
pub fn default_environment(name: &CStr, value: &CStr) -> Result<()> {
    // SAFETY: two NUL-terminated strings, copied during the call, under the lock that libtorch's own reads take.
    check(unsafe { ffi::regun_default_environment(name.as_ptr(), value.as_ptr()) })
}
