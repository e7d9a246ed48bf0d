//! What tch lacks, safely: gradients, fused optimizer steps, process-wide settings, memory layout, a second
//! stream of a GPU; and the one place where libtorch's errors become ours.
//!
//! The C++ side is `autograd.cpp`, `memory.cpp`, `norm.cpp`, `queue.cpp`, `shim.cpp`, `stream.cpp` and `vmap.cpp`:
//! every function there catches all exceptions and returns their text.

mod all_reduce;
mod autocast;
mod autograd;
mod cuda;
mod driver;
mod grads;
mod host;
mod memory;
mod numerics;
mod queue;
mod stream;
pub(crate) mod symbols;
mod vmap;

use std::ffi::{CStr, c_char};
use std::ptr::{self, NonNull};

use tch::{TchError, Tensor};
use torch_sys::C_tensor;

use crate::error::{Error, ErrorKind, Result};

pub use all_reduce::{AllReduce, all_reduce_in_graph};
pub use autocast::Autocast;
pub use autograd::{AccumulationHook, batch_norm_backward, channel_moments, symmetric_map, with_backward};
pub use cuda::{device_count, libtorch_folder, load_cuda};
pub use driver::{Gpu, gpus, keep_out_of_captures};
pub use grads::{GradSums, add_one, set_grad};
pub use host::{HostElement, dense_memory, host_bytes_mut, host_slice_mut};
pub use memory::{PeakDeviceMemory, free_device_memory, peak_device_memory, tensor_over};
pub use numerics::Numerics;
pub use queue::{CudaGraph, HostCopy, upload};
pub use stream::{CommStream, Event, set_device};
pub use vmap::Vmap;

mod ffi {
    use std::ffi::c_void;

    use super::autocast::State;
    use super::autograd::{BackwardCallback, Callback};
    use super::{C_tensor, Numerics, c_char};

    unsafe extern "C" {
        pub fn regun_free_error(error: *mut c_char);
        pub fn regun_set_grad(leaf: *mut C_tensor, grad: *mut C_tensor) -> *mut c_char;
        pub fn regun_accumulate_grads(
            leaves: *const *mut C_tensor,
            sums: *const *mut C_tensor,
            count: usize,
        ) -> *mut c_char;
        pub fn regun_add_one(tensors: *const *mut C_tensor, count: usize) -> *mut c_char;
        pub fn regun_fused_sgd(
            values: *mut C_tensor,
            grads: *mut C_tensor,
            momentum_buffer: *mut C_tensor,
            lr: *mut C_tensor,
            momentum: f64,
            weight_decay: f64,
            nesterov: bool,
            skip: *mut C_tensor,
        ) -> *mut c_char;
        pub fn regun_fused_adamw(
            values: *mut C_tensor,
            grads: *mut C_tensor,
            exp_avg: *mut C_tensor,
            exp_avg_sq: *mut C_tensor,
            step: *mut C_tensor,
            lr: *mut C_tensor,
            beta1: f64,
            beta2: f64,
            weight_decay: f64,
            eps: f64,
            skip: *mut C_tensor,
        ) -> *mut c_char;
        pub fn regun_symmetric_map(result: *mut *mut C_tensor, input: *mut C_tensor, map: Callback) -> *mut c_char;
        pub fn regun_with_backward(
            output: *mut C_tensor,
            inputs: *const *mut C_tensor,
            count: usize,
            backward: BackwardCallback,
        ) -> *mut c_char;
        pub fn regun_batch_norm_backward(
            by_input: *mut *mut C_tensor,
            by_weight: *mut *mut C_tensor,
            by_bias: *mut *mut C_tensor,
            grad: *mut C_tensor,
            input: *mut C_tensor,
            weight: *mut C_tensor,
            mean: *mut C_tensor,
            var: *mut C_tensor,
            eps: f64,
        ) -> *mut c_char;
        pub fn regun_channel_moments(result: *mut *mut C_tensor, input: *mut C_tensor) -> *mut c_char;
        pub fn regun_set_accumulation_hook(leaf: *mut C_tensor, hook: Callback) -> *mut c_char;
        pub fn regun_clear_accumulation_hook(leaf: *mut C_tensor) -> *mut c_char;
        pub fn regun_vmap_push(level: *mut i64, batch_size: i64) -> *mut c_char;
        pub fn regun_vmap_pop() -> *mut c_char;
        pub fn regun_vmap_wrap(result: *mut *mut C_tensor, input: *mut C_tensor, level: i64) -> *mut c_char;
        pub fn regun_vmap_unwrap(result: *mut *mut C_tensor, input: *mut C_tensor, level: i64) -> *mut c_char;
        pub fn regun_tensor_over(
            result: *mut *mut C_tensor,
            data: *mut c_void,
            size: *const i64,
            dimensions: usize,
            drop: extern "C" fn(*mut c_void),
            context: *mut c_void,
        ) -> *mut c_char;
        pub fn regun_cuda_memory(device: i32, free: *mut u64, total: *mut u64) -> *mut c_char;
        pub fn regun_cuda_peak_memory(device: i32, allocated: *mut u64, reserved: *mut u64) -> *mut c_char;
        pub fn regun_enter_autocast(cuda: bool, dtype: i32, before: *mut State) -> *mut c_char;
        pub fn regun_leave_autocast(before: State) -> *mut c_char;
        pub fn regun_upload(result: *mut *mut C_tensor, host: *mut C_tensor, device: i32) -> *mut c_char;
        pub fn regun_has_graphs() -> bool;
        pub fn regun_capture_graph(
            graph: *mut *mut c_void,
            device: i32,
            shares: *mut c_void,
            body: extern "C" fn(*mut c_void) -> bool,
            context: *mut c_void,
        ) -> *mut c_char;
        pub fn regun_replay_graph(graph: *mut c_void) -> *mut c_char;
        pub fn regun_free_graph(graph: *mut c_void);
        pub fn regun_set_numerics(numerics: Numerics) -> *mut c_char;
        pub fn regun_get_numerics(numerics: *mut Numerics) -> *mut c_char;
        pub fn regun_keep_freed_memory();
        pub fn regun_torch_version() -> *const c_char;
        pub fn regun_default_environment(name: *const c_char, value: *const c_char) -> *mut c_char;
    }
}

impl From<TchError> for Error {
    fn from(source: TchError) -> Self {
        match source {
            TchError::Torch(text) => from_torch(&text),
            other => Error::new(ErrorKind::Other, format!("libtorch: {other}")),
        }
    }
}

/// An error from the text of a C++ exception: its first lines, without the C++ back trace; or the error of a callback,
/// which such a text stands for.
fn from_torch(text: &str) -> Error {
    if let Some(error) = autograd::error_behind(text) {
        return error;
    }
    let message = text.split("\nException raised from").next().unwrap_or(text).trim();
    let error = Error::new(ErrorKind::Other, format!("libtorch: {message}"));
    match message.to_ascii_lowercase() {
        text if text.contains("out of memory") || text.contains("not enough memory") => error.hint(
            "lower `data.batch_size` and `data.eval_batch_size`, or raise `trainer.accumulate_grad_batches`; on a GPU \
                 `trainer.cuda_graph=false` takes less",
        ),
        _ => error,
    }
}

/// The `Result` of a shim call; takes over the text that it returned.
fn check(text: *mut c_char) -> Result<()> {
    if text.is_null() {
        return Ok(());
    }
    // SAFETY: a non-null return of the shim is a NUL-terminated string from strdup that nobody else holds.
    let error = from_torch(&unsafe { CStr::from_ptr(text) }.to_string_lossy());
    // SAFETY: it is freed once, here, and not used afterwards.
    unsafe { ffi::regun_free_error(text) };
    Err(error)
}

/// The shim takes `at::Tensor *` without const, as torch-sys does; it changes at most what its comment says.
fn raw(tensor: &Tensor) -> *mut C_tensor {
    tensor.as_ptr().cast_mut()
}

fn pointers(tensors: &[Tensor]) -> Vec<*mut C_tensor> {
    tensors.iter().map(raw).collect()
}

fn raw_or_null(tensor: Option<&Tensor>) -> *mut C_tensor {
    tensor.map_or(ptr::null_mut(), raw)
}

/// What the shim made.
fn made<T>(pointer: *mut T) -> Result<NonNull<T>> {
    NonNull::new(pointer).ok_or_else(nothing_made)
}

fn nothing_made() -> Error {
    Error::new(ErrorKind::Bug, "the shim made nothing and said nothing")
}

/// What an optimizer step is told each time.
#[derive(Debug, Clone, Copy)]
pub struct Update<'a> {
    /// The learning rate, a scalar: float64 on the CPU, or float32 on the parameters' device, where kernels read it.
    pub lr: &'a Tensor,
    /// A float32 scalar on the parameters' device: where it is 1, the step changes nothing.
    pub skip: Option<&'a Tensor>,
}

/// What SGD is set to, apart from the learning rate.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SgdSettings {
    pub momentum: f64,
    pub nesterov: bool,
}

/// One SGD update of `values` in place, in one pass: `d = g + weight_decay * w`, `b = momentum * b + d`,
/// `w -= lr * (nesterov ? d + momentum * b : b)`. All three tensors are of one shape and dtype.
pub fn fused_sgd(
    values: &mut Tensor,
    grads: &Tensor,
    momentum_buffer: &mut Tensor,
    update: Update<'_>,
    weight_decay: f64,
    settings: SgdSettings,
) -> Result<()> {
    let SgdSettings { momentum, nesterov } = settings;
    let (values, grads, buffer) = (raw(values), raw(grads), raw(momentum_buffer));
    let (lr, skip) = (raw(update.lr), raw_or_null(update.skip));
    // SAFETY: live tensors (`skip` may be null), changed only through the two unique borrows; the kernel checks shapes
    // and dtypes.
    check(unsafe { ffi::regun_fused_sgd(values, grads, buffer, lr, momentum, weight_decay, nesterov, skip) })
}

/// What AdamW is set to, apart from the learning rate.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AdamwSettings {
    pub betas: [f64; 2],
    pub eps: f64,
}

/// The moments of AdamW: both averages have the shape and dtype of the values; `step` is a float32 scalar that counts
/// updates, this one included.
#[derive(Debug)]
pub struct AdamwMoments<'a> {
    pub exp_avg: &'a mut Tensor,
    pub exp_avg_sq: &'a mut Tensor,
    pub step: &'a Tensor,
}

/// One AdamW update (decoupled weight decay) of `values` in place, in one pass.
pub fn fused_adamw(
    values: &mut Tensor,
    grads: &Tensor,
    moments: AdamwMoments<'_>,
    update: Update<'_>,
    weight_decay: f64,
    settings: AdamwSettings,
) -> Result<()> {
    let AdamwSettings { betas: [beta1, beta2], eps } = settings;
    let AdamwMoments { exp_avg, exp_avg_sq, step } = moments;
    let (values, grads) = (raw(values), raw(grads));
    let (exp_avg, exp_avg_sq, step) = (raw(exp_avg), raw(exp_avg_sq), raw(step));
    let (lr, skip) = (raw(update.lr), raw_or_null(update.skip));
    // SAFETY: live tensors (`skip` may be null), changed only through the three unique borrows; the kernel checks
    // shapes and dtypes.
    check(unsafe {
        ffi::regun_fused_adamw(values, grads, exp_avg, exp_avg_sq, step, lr, beta1, beta2, weight_decay, eps, skip)
    })
}

/// Keeps freed host memory in the process instead of returning it to the kernel after every tensor: activations of a
/// CPU training step are large, and having their pages taken away and zeroed again costs about a tenth of the step.
/// Call it once, first thing in the program: only memory allocated afterwards is kept. Does nothing without glibc.
pub fn keep_freed_memory() {
    // SAFETY: sets parameters of malloc; no memory changes hands.
    unsafe { ffi::regun_keep_freed_memory() }
}

/// Version of libtorch, like `2.11.0`.
pub fn version() -> String {
    // SAFETY: the shim returns a string literal.
    unsafe { CStr::from_ptr(ffi::regun_torch_version()) }.to_string_lossy().into_owned()
}

/// Sets an environment variable, unless it is set, for libraries that start later.
pub fn default_environment(name: &CStr, value: &CStr) -> Result<()> {
    // SAFETY: two NUL-terminated strings, copied during the call, under the lock that libtorch's own reads take.
    check(unsafe { ffi::regun_default_environment(name.as_ptr(), value.as_ptr()) })
}

/// `tensor` (N, C, H, W) with the channels innermost in memory: strides (HWC, 1, WC, C). The tensor itself where it
/// already is, otherwise a copy.
pub fn to_channels_last(tensor: &Tensor) -> Result<Tensor> {
    Ok(tensor.f_permute([0, 2, 3, 1])?.f_contiguous()?.f_permute([0, 3, 1, 2])?)
}

/// Whether `tensor` (N, C, H, W) has the channels innermost in memory, without gaps. Strides of dimensions of length 1
/// do not matter.
pub fn is_channels_last(tensor: &Tensor) -> bool {
    let (size, stride) = (tensor.size(), tensor.stride());
    let dense = |wanted: &[i64]| size.iter().zip(&stride).zip(wanted).all(|((n, got), want)| *n == 1 || got == want);
    size.len() == 4 && dense(&channels_last_strides(&size))
}

/// Strides of a dense tensor of shape `size`: channels last where it has four dimensions, row-major otherwise.
pub fn dense_strides(size: &[i64]) -> Vec<i64> {
    if size.len() == 4 {
        return channels_last_strides(size);
    }
    let mut strides = vec![1; size.len()];
    for d in (1..size.len()).rev() {
        strides[d - 1] = strides[d] * size[d];
    }
    strides
}

fn channels_last_strides(size: &[i64]) -> Vec<i64> {
    let (c, h, w) = (size[1], size[2], size[3]);
    vec![h * w * c, 1, w * c, c]
}

#[cfg(test)]
mod tests {
    use tch::{Device, Kind};

    use super::*;

    fn zeros(size: &[i64]) -> Tensor {
        Tensor::zeros(size, (Kind::Float, Device::Cpu))
    }

    #[test]
    fn errors_keep_the_message_and_drop_the_back_trace() {
        let error = Error::from(zeros(&[2, 3]).f_matmul(&zeros(&[2, 3])).unwrap_err());
        assert!(error.message().starts_with("libtorch: mat1 and mat2 shapes cannot be multiplied"), "{error}");
        assert!(!error.message().contains("Exception raised from"));
        let error = Error::from(TchError::Torch("CUDA out of memory. Tried to allocate 1 GiB".into()));
        assert!(error.hint_text().unwrap().contains("data.batch_size"));
    }

    #[test]
    fn channels_last_is_told_by_strides() {
        let x = Tensor::arange(2 * 3 * 4 * 5, (Kind::Float, Device::Cpu)).reshape([2, 3, 4, 5]);
        let y = to_channels_last(&x).unwrap();
        assert_eq!(x, y);
        assert!(!is_channels_last(&x) && is_channels_last(&y));
        assert_eq!(y.stride(), dense_strides(&[2, 3, 4, 5]));
        assert_eq!(to_channels_last(&y).unwrap().data_ptr(), y.data_ptr());
        assert!(is_channels_last(&zeros(&[2, 3, 1, 1])) && is_channels_last(&zeros(&[2, 1, 4, 5])));
        assert!(!is_channels_last(&zeros(&[2, 3])));
        assert_eq!(dense_strides(&[2, 3, 4]), [12, 4, 1]);
    }
}
