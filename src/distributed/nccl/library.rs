//! NCCL's functions with its error codes turned into [`Error`]s. The caller vouches for the pointers.

use std::ffi::{CStr, c_char, c_int, c_void};
use std::fmt;
use std::ptr;

use super::raw::{self, CudaStream, NcclComm, NcclConfig, NcclTable, UniqueId};
use crate::error::{Error, ErrorKind, Result};

/// `NCCL_VERSION_CODE`: 22809 is 2.28.9.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd)]
pub struct NcclVersion(pub(super) c_int);

impl fmt::Display for NcclVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Versions up to 2.8 have fewer digits.
        let (major, rest) =
            if self.0 < 10000 { (self.0 / 1000, self.0 % 1000) } else { (self.0 / 10000, self.0 % 10000) };
        write!(f, "{major}.{}.{}", rest / 100, rest % 100)
    }
}

/// An opened NCCL library.
pub struct NcclLibrary {
    table: NcclTable,
    version: NcclVersion,
    origin: String,
}

impl fmt::Debug for NcclLibrary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "NCCL {} ({})", self.version, self.origin)
    }
}

impl NcclLibrary {
    /// The library of these functions. The error is the code of a failed `ncclGetVersion`.
    pub(super) fn from_table(table: NcclTable, origin: String) -> Result<Self, c_int> {
        let mut code = 0;
        // SAFETY: writes an int.
        match unsafe { (table.get_version)(&mut code) } {
            raw::SUCCESS => Ok(NcclLibrary { table, version: NcclVersion(code), origin }),
            failure => Err(failure),
        }
    }

    /// The version of the opened library.
    pub fn version(&self) -> NcclVersion {
        self.version
    }

    /// An error if the NCCL function `call` returned a `code` other than success. `comm` may be null.
    fn check(&self, call: &str, code: c_int, comm: NcclComm) -> Result<()> {
        if code == raw::SUCCESS {
            return Ok(());
        }
        // SAFETY: NCCL returns static strings for any code, and the last error for a live or null communicator.
        let [name, last] = unsafe { [(self.table.error_string)(code), (self.table.last_error)(comm)] }.map(text);
        let last = if last.is_empty() { last } else { format!("; {last}") };
        Err(Error::new(ErrorKind::Peer, format!("NCCL {}: {call}: {name} (code {code}){last}", self.version))
            .hint("run again with NCCL_DEBUG=WARN to see NCCL's own messages"))
    }

    /// A fresh id for one communicator. From here on this process listens for the other ranks.
    pub fn unique_id(&self) -> Result<UniqueId> {
        let mut id = UniqueId([0; 128]);
        // SAFETY: writes the 128 bytes of `id`.
        let code = unsafe { (self.table.get_unique_id)(&mut id) };
        self.check("ncclGetUniqueId", code, ptr::null_mut()).map(|()| id)
    }

    /// Joins the communicator `id` with this thread's current device. Waits for the other ranks.
    pub fn init(&self, id: UniqueId, rank: usize, ranks: usize) -> Result<NcclComm> {
        let (mut comm, mut config) = (ptr::null_mut(), NcclConfig::blocking());
        // SAFETY: writes `comm`; reads `config` during the call.
        let code = unsafe { (self.table.init)(&mut comm, ranks as c_int, id, rank as c_int, &mut config) };
        self.check("ncclCommInitRankConfig", code, ptr::null_mut()).map(|()| comm)
    }

    /// An error if a collective on `comm` failed since the last call.
    ///
    /// # Safety
    /// `comm` is a live communicator that no other thread uses.
    pub unsafe fn check_async_error(&self, comm: NcclComm) -> Result<()> {
        let mut state = raw::SUCCESS;
        // SAFETY: the caller passes a live communicator; writes `state`.
        let code = unsafe { (self.table.async_error)(comm, &mut state) };
        self.check("ncclCommGetAsyncError", code, comm)?;
        self.check("a collective failed", state, comm)
    }

    /// Finishes the collectives of `comm`. Waits for the device and for the other ranks.
    ///
    /// # Safety
    /// `comm` is a live communicator that no other thread uses.
    pub unsafe fn finalize(&self, comm: NcclComm) -> Result<()> {
        // SAFETY: the caller passes a live communicator.
        self.check("ncclCommFinalize", unsafe { (self.table.finalize)(comm) }, comm)
    }

    /// Frees a finalized communicator.
    ///
    /// # Safety
    /// `comm` is a live communicator that no other thread uses, and it is not used afterwards.
    pub unsafe fn destroy(&self, comm: NcclComm) -> Result<()> {
        // SAFETY: the caller passes a live communicator. It is freed before an error is looked up, so that gets null.
        self.check("ncclCommDestroy", unsafe { (self.table.destroy)(comm) }, ptr::null_mut())
    }

    /// Enqueues a collective on `stream`.
    ///
    /// # Safety
    /// `comm` is a live communicator that no other thread uses. The memory is on the communicator's device and holds
    /// the elements that the collective reads and writes. It stays alive, and no other work accesses it, until `stream`
    /// has finished the collective.
    pub unsafe fn launch(&self, collective: NcclCollective, comm: NcclComm, stream: CudaStream) -> Result<()> {
        let table = &self.table;
        // SAFETY: the caller vouches for all pointers.
        let (call, code) = unsafe {
            match collective {
                NcclCollective::AllReduce { data, count, dtype } => {
                    ("ncclAllReduce", (table.all_reduce)(data, data, count, dtype, raw::SUM, comm, stream))
                }
                NcclCollective::Reduce { data, count, dtype } => {
                    ("ncclReduce", (table.reduce)(data, data, count, dtype, raw::SUM, ROOT, comm, stream))
                }
                NcclCollective::Broadcast { data, bytes } => {
                    ("ncclBroadcast", (table.broadcast)(data, data, bytes, raw::UINT8, ROOT, comm, stream))
                }
                NcclCollective::AllGather { from, to, bytes } => {
                    ("ncclAllGather", (table.all_gather)(from, to, bytes, raw::UINT8, comm, stream))
                }
            }
        };
        self.check(call, code, comm)
    }
}

/// Source of broadcasts and target of reduces.
const ROOT: c_int = 0;

/// A collective on device memory. Reductions are sums, in place.
#[derive(Debug, Clone, Copy)]
pub enum NcclCollective {
    AllReduce {
        data: *mut c_void,
        count: usize,
        dtype: c_int,
    },
    /// The result goes to rank 0. `data` of the other ranks does not change.
    Reduce {
        data: *mut c_void,
        count: usize,
        dtype: c_int,
    },
    Broadcast {
        data: *mut c_void,
        bytes: usize,
    },
    /// Writes `bytes` of each rank to `to`, in rank order.
    AllGather {
        from: *const c_void,
        to: *mut c_void,
        bytes: usize,
    },
}

/// The text of a C string; empty for null.
fn text(message: *const c_char) -> String {
    if message.is_null() {
        return String::new();
    }
    // SAFETY: NCCL returns NUL-terminated strings that live at least until its next call.
    unsafe { CStr::from_ptr(message) }.to_string_lossy().trim().to_owned()
}
