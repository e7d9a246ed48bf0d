//! The C++ shim as Rust sees it: the functions of `shim.h` and `stream.h`, and the structs that cross the border.
//!
//! Fallible functions return null or the text of an exception; `error::check` turns that into a `Result`.

use std::ffi::{c_char, c_int, c_void};

use torch_sys::C_tensor;

/// A closure that changes a tensor in place: `RegunCallback` of `shim.h`.
#[repr(C)]
pub struct Callback {
    pub call: extern "C" fn(*mut c_void, *mut C_tensor) -> bool,
    pub drop: extern "C" fn(*mut c_void),
    pub context: *mut c_void,
}

/// A closure that computes a backward pass: `RegunBackward` of `shim.h`.
#[repr(C)]
pub struct BackwardCallback {
    pub call: extern "C" fn(*mut c_void, *mut C_tensor, *mut *mut C_tensor) -> bool,
    pub drop: extern "C" fn(*mut c_void),
    pub context: *mut c_void,
}

/// The autocast settings of a thread for one type of device: `RegunAutocastState` of `shim.h`.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default)]
pub struct AutocastState {
    cuda: bool,
    enabled: bool,
    dtype: i32,
}

/// Numerical settings of the whole process: `RegunNumerics` of `shim.h`.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Numerics {
    /// Operations without a deterministic kernel become errors. On a GPU cuBLAS counts as one unless the environment
    /// has `CUBLAS_WORKSPACE_CONFIG` when it starts.
    pub deterministic: bool,
    /// float32 products on a GPU use TF32, with a mantissa of 10 bits.
    pub tf32: bool,
    /// cuDNN times its algorithms for each new shape and takes the fastest, which need not be the same each time.
    pub benchmark: bool,
}

unsafe extern "C" {
    pub fn regun_free_error(error: *mut c_char);

    // --- gradients ---
    pub fn regun_set_grad(leaf: *mut C_tensor, grad: *mut C_tensor) -> *mut c_char;
    pub fn regun_accumulate_grads(
        leaves: *const *mut C_tensor,
        sums: *const *mut C_tensor,
        count: usize,
    ) -> *mut c_char;
    pub fn regun_add_one(tensors: *const *mut C_tensor, count: usize) -> *mut c_char;

    // --- autograd ---
    pub fn regun_symmetric_map(result: *mut *mut C_tensor, input: *mut C_tensor, map: Callback) -> *mut c_char;
    pub fn regun_with_backward(
        output: *mut C_tensor,
        inputs: *const *mut C_tensor,
        count: usize,
        backward: BackwardCallback,
    ) -> *mut c_char;
    pub fn regun_set_accumulation_hook(leaf: *mut C_tensor, hook: Callback) -> *mut c_char;
    pub fn regun_clear_accumulation_hook(leaf: *mut C_tensor) -> *mut c_char;
    pub fn regun_channel_moments(result: *mut *mut C_tensor, input: *mut C_tensor) -> *mut c_char;
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

    // --- vmap and autocast ---
    pub fn regun_vmap_push(level: *mut i64, batch_size: i64) -> *mut c_char;
    pub fn regun_vmap_pop() -> *mut c_char;
    pub fn regun_vmap_wrap(result: *mut *mut C_tensor, input: *mut C_tensor, level: i64) -> *mut c_char;
    pub fn regun_vmap_unwrap(result: *mut *mut C_tensor, input: *mut C_tensor, level: i64) -> *mut c_char;
    pub fn regun_enter_autocast(cuda: bool, dtype: i32, before: *mut AutocastState) -> *mut c_char;
    pub fn regun_leave_autocast(before: AutocastState) -> *mut c_char;

    // --- fused optimizer steps ---
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

    // --- memory and transfer ---
    pub fn regun_is_unshared(tensor: *mut C_tensor) -> bool;
    pub fn regun_tensor_over(
        result: *mut *mut C_tensor,
        data: *mut c_void,
        size: *const i64,
        dimensions: usize,
        drop: extern "C" fn(*mut c_void),
        context: *mut c_void,
    ) -> *mut c_char;
    pub fn regun_cuda_memory(device: c_int, free: *mut u64, total: *mut u64) -> *mut c_char;
    pub fn regun_cuda_peak_memory(device: c_int, allocated: *mut u64, reserved: *mut u64) -> *mut c_char;
    pub fn regun_upload(result: *mut *mut C_tensor, host: *mut C_tensor, device: c_int) -> *mut c_char;

    // --- CUDA graphs ---
    pub fn regun_has_graphs() -> bool;
    pub fn regun_capture_graph(
        graph: *mut *mut c_void,
        device: c_int,
        pool_of: *mut c_void,
        body: extern "C" fn(*mut c_void) -> bool,
        context: *mut c_void,
    ) -> *mut c_char;
    pub fn regun_replay_graph(graph: *mut c_void) -> *mut c_char;
    pub fn regun_free_graph(graph: *mut c_void);

    // --- streams and events ---
    pub fn regun_set_device(device: c_int) -> *mut c_char;
    pub fn regun_stream_new(result: *mut *mut c_void, handle: *mut *mut c_void, device: c_int) -> *mut c_char;
    pub fn regun_stream_free(stream: *mut c_void);
    pub fn regun_stream_follow_current(stream: *mut c_void) -> *mut c_char;
    pub fn regun_stream_join_current(stream: *mut c_void) -> *mut c_char;
    pub fn regun_event_new(result: *mut *mut c_void, device: c_int, stream: *mut c_void, timed: bool) -> *mut c_char;
    pub fn regun_event_reached(result: *mut bool, event: *mut c_void) -> *mut c_char;
    pub fn regun_event_wait(event: *mut c_void) -> *mut c_char;
    pub fn regun_event_seconds_since(result: *mut f64, event: *mut c_void, earlier: *mut c_void) -> *mut c_char;
    pub fn regun_event_free(event: *mut c_void);

    // --- the process ---
    pub fn regun_set_numerics(numerics: Numerics) -> *mut c_char;
    pub fn regun_get_numerics(numerics: *mut Numerics) -> *mut c_char;
    pub fn regun_keep_freed_memory();
    pub fn regun_torch_version() -> *const c_char;
}
