//! CUDA graphs.

use std::ffi::c_void;
use std::ptr::{self, NonNull};

use super::error::check;
use super::ffi;
use super::pointers::{missing_result, not_null};
use crate::error::Result;

/// Kernels that are captured once and launched again as one piece, on the same memory.
///
/// A capture fixes every decision of the host: addresses, shapes, numbers.
pub struct CudaGraph(NonNull<c_void>);

impl CudaGraph {
    /// Whether libtorch's CUDA part is loaded and offers the graph functions that the shim knows.
    pub fn is_available() -> bool {
        // SAFETY: looks symbols up in a library that stays loaded.
        unsafe { ffi::regun_has_graphs() }
    }

    /// Captures the work that `body` enqueues on CUDA device `device`. None of it runs before [`CudaGraph::replay`].
    /// `body` must not wait for the device.
    ///
    /// The new graph uses the memory of `shared_pool` again: of two such graphs, only the results of the later replay
    /// can be read.
    pub fn capture<T, F>(device: usize, shared_pool: Option<&CudaGraph>, body: F) -> Result<(CudaGraph, T)>
    where
        F: FnOnce() -> Result<T>,
    {
        let mut call = BodyCall { body: Some(body), result: None };
        let pool_of = shared_pool.map_or(ptr::null_mut(), |graph| graph.0.as_ptr());
        let mut graph = ptr::null_mut();
        let context = ptr::from_mut(&mut call).cast();
        // SAFETY: `call_body` gets the `BodyCall` of its own types, which outlives the call; `pool_of` is a live graph
        // or null; the shim writes a new graph to `graph` if it succeeds.
        let captured =
            check(unsafe { ffi::regun_capture_graph(&mut graph, device as i32, pool_of, call_body::<F, T>, context) });
        match (call.result, captured) {
            // If the body fails the capture fails, too: the body's error says more.
            (Some(Err(error)), _) | (_, Err(error)) => Err(error),
            (Some(Ok(result)), Ok(())) => Ok((CudaGraph(not_null(graph)?), result)),
            (None, Ok(())) => Err(missing_result()),
        }
    }

    /// Enqueues the captured kernels on the current stream.
    ///
    /// # Safety
    /// The memory of all tensors that the body used and that existed before the capture is still theirs.
    pub unsafe fn replay(&self) -> Result<()> {
        // SAFETY: a graph of `capture`, alive until drop; the caller vouches for the memory that it uses.
        check(unsafe { ffi::regun_replay_graph(self.0.as_ptr()) })
    }
}

impl Drop for CudaGraph {
    fn drop(&mut self) {
        // SAFETY: a graph of `capture`, freed once.
        unsafe { ffi::regun_free_graph(self.0.as_ptr()) };
    }
}

/// The closure to capture, and later its result.
struct BodyCall<F, T> {
    body: Option<F>,
    result: Option<Result<T>>,
}

// A panic in the body ends the process here, as in any function that C++ calls.
extern "C" fn call_body<F: FnOnce() -> Result<T>, T>(context: *mut c_void) -> bool {
    // SAFETY: `capture` passes its own `BodyCall` of these types, and uses it again only after the call.
    let call = unsafe { &mut *context.cast::<BodyCall<F, T>>() };
    call.result = call.body.take().map(|body| body());
    matches!(call.result, Some(Ok(_)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_gpu_a_capture_returns_an_error() {
        if !tch::Cuda::is_available() {
            assert!(CudaGraph::capture(0, None, || Ok(())).is_err());
        }
    }
}
