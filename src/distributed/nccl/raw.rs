//! The functions and types of `nccl.h` that we use, with raw pointers and C integers.

use std::ffi::{c_char, c_int, c_uint, c_void};

use crate::torch::symbols::symbol_table;

/// `ncclComm_t`.
pub type NcclComm = *mut c_void;
/// `cudaStream_t`.
pub type CudaStream = *mut c_void;

/// `ncclUniqueId`.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct UniqueId(pub [u8; 128]);

/// `ncclConfig_t` of NCCL 2.14, the first version with this struct. Later versions read `size` and `version`, and treat
/// their additional fields as unset.
#[repr(C)]
pub struct NcclConfig {
    size: usize,
    magic: c_uint,
    version: c_uint,
    blocking: c_int,
}

impl NcclConfig {
    /// For a blocking communicator: a call returns once its work is enqueued on the stream.
    pub fn blocking() -> Self {
        NcclConfig { size: size_of::<NcclConfig>(), magic: 0xcafe_beef, version: 21400, blocking: 1 }
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
    /// NCCL's functions, with the signatures of `nccl.h` of 2.14 to 2.28.
    pub struct NcclTable {
        get_version = "ncclGetVersion": fn(*mut c_int) -> c_int;
        get_unique_id = "ncclGetUniqueId": fn(*mut UniqueId) -> c_int;
        init = "ncclCommInitRankConfig": fn(*mut NcclComm, c_int, UniqueId, c_int, *mut NcclConfig) -> c_int;
        finalize = "ncclCommFinalize": fn(NcclComm) -> c_int;
        destroy = "ncclCommDestroy": fn(NcclComm) -> c_int;
        async_error = "ncclCommGetAsyncError": fn(NcclComm, *mut c_int) -> c_int;
        error_string = "ncclGetErrorString": fn(c_int) -> *const c_char;
        last_error = "ncclGetLastError": fn(NcclComm) -> *const c_char;
        all_reduce = "ncclAllReduce":
            fn(*const c_void, *mut c_void, usize, c_int, c_int, NcclComm, CudaStream) -> c_int;
        reduce = "ncclReduce":
            fn(*const c_void, *mut c_void, usize, c_int, c_int, c_int, NcclComm, CudaStream) -> c_int;
        broadcast = "ncclBroadcast":
            fn(*const c_void, *mut c_void, usize, c_int, c_int, NcclComm, CudaStream) -> c_int;
        all_gather = "ncclAllGather":
            fn(*const c_void, *mut c_void, usize, c_int, NcclComm, CudaStream) -> c_int;
    }
}
