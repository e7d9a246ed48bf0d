//! The queue of a device: copies between host and device for which neither waits, and recorded pieces of work.
//!
//! On a CPU everything is done at once, and the same calls cost nothing.

use std::ffi::c_void;
use std::ptr::{self, NonNull};

use tch::{Device, Tensor};

use super::{Event, check, ffi, raw};
use crate::error::Result;

/// A tensor on `device`: itself where it is there already. From host to GPU the host does not wait: the copy starts
/// from page-locked memory, and is in the queue before whatever is called next.
pub fn upload(tensor: &Tensor, device: Device) -> Result<Tensor> {
    let (Device::Cpu, Device::Cuda(index)) = (tensor.device(), device) else { return Ok(tensor.f_to_device(device)?) };
    let mut result = ptr::null_mut();
    // SAFETY: live tensor; the shim writes a new tensor to `result` where it succeeds.
    check(unsafe { ffi::regun_upload(&mut result, raw(tensor), index as i32) })?;
    // SAFETY: that new tensor, which nobody else owns.
    Ok(unsafe { Tensor::from_ptr(result) })
}

/// A small tensor on its way to the host.
pub struct HostCopy {
    values: Tensor,
    /// None where the values were there at once.
    arrival: Option<Event>,
}

impl HostCopy {
    /// Of the values that `tensor` has now; later changes of it do not matter.
    pub fn start(tensor: &Tensor) -> Result<Self> {
        let kind = tensor.f_kind()?;
        let values = tensor.f_detach()?.f_to_device_(Device::Cpu, kind, true, true)?;
        let arrival = if tensor.device().is_cuda() { Some(Event::now(tensor.device())?) } else { None };
        Ok(HostCopy { values, arrival })
    }

    /// The values, when they have arrived: waits for what was in the queue before [`HostCopy::start`], not for what
    /// came after it.
    pub fn wait(self) -> Result<Tensor> {
        if let Some(arrival) = &self.arrival {
            arrival.wait()?;
        }
        Ok(self.values)
    }
}

/// Kernels that were recorded once and are launched again as one piece, on the same memory (a CUDA graph).
///
/// Whatever the host decided while it recorded stays as it was: addresses, shapes, numbers.
pub struct CudaGraph(NonNull<c_void>);

impl CudaGraph {
    /// Whether libtorch's CUDA part is loaded, and has graphs that we know.
    pub fn is_available() -> bool {
        // SAFETY: looks symbols up in a library that stays loaded.
        unsafe { ffi::regun_has_graphs() }
    }

    /// Records what `body` enqueues on CUDA device `device`; nothing of it runs before [`CudaGraph::replay`]. `body` must
    /// not wait for the device. The memory of `shares` is used again: of two such graphs, only what the later replay
    /// wrote can be read.
    pub fn capture<T, F>(device: usize, shares: Option<&CudaGraph>, body: F) -> Result<(CudaGraph, T)>
    where
        F: FnOnce() -> Result<T>,
    {
        let mut recording = Recording { body: Some(body), result: None };
        let shares = shares.map_or(ptr::null_mut(), |graph| graph.0.as_ptr());
        let mut graph = ptr::null_mut();
        let context = ptr::from_mut(&mut recording).cast();
        // SAFETY: `call` gets the recording that it is made for, which outlives the call; `shares` is a live graph or
        // null; the shim writes a new graph to `graph` where it succeeds.
        let recorded =
            check(unsafe { ffi::regun_capture_graph(&mut graph, device as i32, shares, call::<F, T>, context) });
        match (recording.result, recorded) {
            // The recording also fails after its body: the first failure says more.
            (Some(Err(error)), _) | (_, Err(error)) => Err(error),
            (Some(Ok(result)), Ok(())) => Ok((CudaGraph(super::made(graph)?), result)),
            (None, Ok(())) => Err(super::nothing_made()),
        }
    }

    /// Enqueues the recorded kernels on the current stream.
    pub fn replay(&self) -> Result<()> {
        // SAFETY: a graph of `capture`, alive until drop.
        check(unsafe { ffi::regun_replay_graph(self.0.as_ptr()) })
    }
}

impl Drop for CudaGraph {
    fn drop(&mut self) {
        // SAFETY: a graph of `capture`, freed once.
        unsafe { ffi::regun_free_graph(self.0.as_ptr()) };
    }
}

struct Recording<F, T> {
    body: Option<F>,
    result: Option<Result<T>>,
}

// A panic in the body ends the process here, as in any function that C++ calls.
extern "C" fn call<F: FnOnce() -> Result<T>, T>(context: *mut c_void) -> bool {
    // SAFETY: `capture` passes its own recording of these types, and nobody else uses it during the call.
    let recording = unsafe { &mut *context.cast::<Recording<F, T>>() };
    recording.result = recording.body.take().map(|body| body());
    matches!(recording.result, Some(Ok(_)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_copy_holds_the_values_of_its_start() {
        let mut x = Tensor::from_slice(&[1.0, 2.0]);
        let copy = HostCopy::start(&x).unwrap();
        let _ = x.fill_(7.0);
        assert_eq!(Vec::<f64>::try_from(copy.wait().unwrap()).unwrap(), [1.0, 2.0]);
        assert_eq!(upload(&x, Device::Cpu).unwrap(), x);
    }

    #[test]
    fn without_a_gpu_recording_is_an_error_and_not_the_end() {
        if !tch::Cuda::is_available() {
            assert!(CudaGraph::capture(0, None, || Ok(())).is_err());
        }
    }
}
