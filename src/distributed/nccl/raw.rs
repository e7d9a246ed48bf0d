//! The functions and types of `nccl.h` that we call, as they are in the library. Raw pointers, C integers.

use std::ffi::{c_char, c_int, c_uint, c_void};

use crate::torch::symbols::symbol_table;

/// `ncclComm_t`.
pub type Comm = *mut c_void;
/// `cudaStream_t`.
pub type Stream = *mut c_void;

/// `ncclUniqueId`.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct UniqueId(pub [u8; 128]);

/// `ncclConfig_t` of NCCL 2.14, the first that had one. Later versions take the fields that it lacks for unset: they
/// look at `size` and `version`.
#[repr(C)]
pub struct Config {
    size: usize,
    magic: c_uint,
    version: c_uint,
    blocking: c_int,
}

impl Config {
    /// Calls on the communicator return when what they launch is in its stream.
    pub fn blocking() -> Self {
        Config { size: size_of::<Config>(), magic: 0xcafe_beef, version: 21400, blocking: 1 }
    }
}

// ncclResult_t
pub const SUCCESS: c_int = 0;

// ncclDataType_t
pub const UINT8: c_int = 1;
pub const INT64: c_int = 4;
pub const FLOAT16: c_int = 6;
pub const FLOAT32: c_int = 7;
pub const FLOAT64: c_int = 8;
pub const BFLOAT16: c_int = 9;

/// `ncclRedOp_t`.
pub const SUM: c_int = 0;

symbol_table! {
    /// Signatures as in `nccl.h` of 2.14 to 2.28.
    pub struct Table {
        get_version = "ncclGetVersion": fn(*mut c_int) -> c_int;
        get_unique_id = "ncclGetUniqueId": fn(*mut UniqueId) -> c_int;
        init = "ncclCommInitRankConfig": fn(*mut Comm, c_int, UniqueId, c_int, *mut Config) -> c_int;
        finalize = "ncclCommFinalize": fn(Comm) -> c_int;
        destroy = "ncclCommDestroy": fn(Comm) -> c_int;
        async_error = "ncclCommGetAsyncError": fn(Comm, *mut c_int) -> c_int;
        error_string = "ncclGetErrorString": fn(c_int) -> *const c_char;
        last_error = "ncclGetLastError": fn(Comm) -> *const c_char;
        all_reduce = "ncclAllReduce": fn(*const c_void, *mut c_void, usize, c_int, c_int, Comm, Stream) -> c_int;
        reduce = "ncclReduce": fn(*const c_void, *mut c_void, usize, c_int, c_int, c_int, Comm, Stream) -> c_int;
        broadcast = "ncclBroadcast": fn(*const c_void, *mut c_void, usize, c_int, c_int, Comm, Stream) -> c_int;
        all_gather = "ncclAllGather": fn(*const c_void, *mut c_void, usize, c_int, Comm, Stream) -> c_int;
    }
}
