//! The CUDA driver: the GPUs of this machine, and whether a stream is being captured.
//!
//! libtorch's own functions for this need CUDA's headers. The driver (`libcuda.so.1`) has one name and a stable
//! interface on every machine with a GPU, for every CUDA that libtorch may be built with. It numbers GPUs as libtorch
//! does, and respects `CUDA_VISIBLE_DEVICES`.

use std::ffi::{CStr, c_char, c_int, c_uint, c_void};
use std::sync::OnceLock;

use serde::{Deserialize, Serialize};

use super::symbols::symbol_table;

/// A GPU that this process may use.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gpu {
    /// Name of the model, like `NVIDIA H100 80GB HBM3`.
    pub name: String,
    /// Address on the machine's bus, like `0000:1b:00.0`. A GPU has the same one in every process.
    pub bus_id: String,
    /// All of its memory.
    pub memory_bytes: u64,
}

symbol_table! {
    /// The functions of `cuda.h` that we call. A `CUresult` is an int, 0 for success; so is a `CUdevice`.
    struct DriverTable {
        init = "cuInit": fn(c_uint) -> c_int;
        device_count = "cuDeviceGetCount": fn(*mut c_int) -> c_int;
        device = "cuDeviceGet": fn(*mut c_int, c_int) -> c_int;
        device_name = "cuDeviceGetName": fn(*mut c_char, c_int, c_int) -> c_int;
        bus_id = "cuDeviceGetPCIBusId": fn(*mut c_char, c_int, c_int) -> c_int;
        total_memory = "cuDeviceTotalMem_v2": fn(*mut usize, c_int) -> c_int;
        is_capturing = "cuStreamIsCapturing": fn(*mut c_void, *mut c_int) -> c_int;
        exchange_capture_mode = "cuThreadExchangeStreamCaptureMode": fn(*mut c_int) -> c_int;
    }
}

const SUCCESS: c_int = 0;
/// `CUDA_ERROR_NO_DEVICE`.
const NO_DEVICE: c_int = 100;
/// `CU_STREAM_CAPTURE_STATUS_NONE`.
const NOT_CAPTURING: c_int = 0;
/// `CU_STREAM_CAPTURE_MODE_RELAXED`.
const RELAXED: c_int = 2;

/// The driver of this machine, if there is one.
fn driver() -> Option<&'static DriverTable> {
    static DRIVER: OnceLock<Option<DriverTable>> = OnceLock::new();
    let open = || {
        // SAFETY: the driver's initialisers may run in any program.
        let library = unsafe { libloading::Library::new("libcuda.so.1") }.ok()?;
        // SAFETY: signatures as in cuda.h of CUDA 12 and 13.
        unsafe { DriverTable::load(library) }.ok()
    };
    DRIVER.get_or_init(open).as_ref()
}

/// The GPUs that this process may use, in libtorch's order.
///
/// # Errors
/// The reason why there is none, as a text.
pub fn gpus() -> Result<Vec<Gpu>, String> {
    let driver = driver().ok_or("there is no NVIDIA driver (libcuda.so.1)")?;
    let done = |call: &str, code: c_int| match code {
        SUCCESS => Ok(()),
        NO_DEVICE => Err("the NVIDIA driver sees no GPU".to_owned()),
        code => Err(format!("the NVIDIA driver fails: {call} returns {code}")),
    };
    let mut count = 0;
    // SAFETY: the signature of cuda.h; no pointers.
    done("cuInit", unsafe { (driver.init)(0) })?;
    // SAFETY: the signatures of cuda.h; the driver writes to `count`.
    done("cuDeviceGetCount", unsafe { (driver.device_count)(&mut count) })?;
    let gpu = |index: c_int| {
        let (mut device, mut memory_bytes) = (0, 0usize);
        let (mut name, mut bus_id) = ([0; 128], [0; 32]);
        // SAFETY: every pointer is to a local of the given size, and `device` comes from the driver.
        unsafe {
            done("cuDeviceGet", (driver.device)(&mut device, index))?;
            done("cuDeviceGetName", (driver.device_name)(name.as_mut_ptr(), name.len() as c_int - 1, device))?;
            done("cuDeviceGetPCIBusId", (driver.bus_id)(bus_id.as_mut_ptr(), bus_id.len() as c_int - 1, device))?;
            done("cuDeviceTotalMem", (driver.total_memory)(&mut memory_bytes, device))?;
        }
        Ok(Gpu { name: text(&name), bus_id: text(&bus_id), memory_bytes: memory_bytes as u64 })
    };
    (0..count).map(gpu).collect()
}

/// The text of a buffer whose last byte is 0.
fn text(buffer: &[c_char]) -> String {
    // SAFETY: the last byte is still 0: the driver gets a buffer that is shorter by one byte.
    unsafe { CStr::from_ptr(buffer.as_ptr()) }.to_string_lossy().into_owned()
}

/// Whether work for this stream goes into a CUDA graph instead of running.
///
/// # Safety
/// `stream` is the handle of a live stream.
pub unsafe fn is_capturing(stream: *mut c_void) -> bool {
    let Some(driver) = driver() else { return false };
    let mut status = NOT_CAPTURING;
    // SAFETY: the caller passes the handle of a live stream; `status` is ours to write.
    let code = unsafe { (driver.is_capturing)(stream, &mut status) };
    code == SUCCESS && status != NOT_CAPTURING
}

/// From now on this thread's calls to CUDA cannot spoil a capture that another thread makes.
pub fn keep_out_of_captures() {
    if let Some(driver) = driver() {
        let mut mode = RELAXED;
        // SAFETY: swaps this thread's mode with `mode`.
        unsafe { (driver.exchange_capture_mode)(&mut mode) };
    }
}
