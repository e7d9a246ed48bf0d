//! NCCL's functions with its error codes turned into [`Error`]s. What they ask of pointers is left to the caller.

use std::ffi::{CStr, c_char, c_int, c_void};
use std::fmt;
use std::ptr;

use super::raw::{self, Comm, Stream, Table, UniqueId};
use crate::error::{Error, ErrorKind, Result};

/// `NCCL_VERSION_CODE`: 22809 is 2.28.9.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd)]
pub struct Version(pub(super) c_int);

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Up to 2.8 a version was coded with fewer digits.
        let (major, rest) =
            if self.0 < 10000 { (self.0 / 1000, self.0 % 1000) } else { (self.0 / 10000, self.0 % 10000) };
        write!(f, "{major}.{}.{}", rest / 100, rest % 100)
    }
}

/// An opened NCCL.
pub struct Library {
    table: Table,
    version: Version,
    origin: String,
}

impl fmt::Debug for Library {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "NCCL {} ({})", self.version, self.origin)
    }
}

impl Library {
    /// The library that these functions belong to; or the code with which it refuses to say its version.
    pub(super) fn from_table(table: Table, origin: String) -> Result<Self, c_int> {
        let mut code = 0;
        // SAFETY: writes an int.
        match unsafe { (table.get_version)(&mut code) } {
            raw::SUCCESS => Ok(Library { table, version: Version(code), origin }),
            refusal => Err(refusal),
        }
    }

    pub fn version(&self) -> Version {
        self.version
    }

    /// `code` of the call `what`; `comm` may be null.
    fn check(&self, what: &str, code: c_int, comm: Comm) -> Result<()> {
        if code == raw::SUCCESS {
            return Ok(());
        }
        // SAFETY: NCCL returns static strings for any code, and its last error for a live or null communicator.
        let [name, last] = unsafe { [(self.table.error_string)(code), (self.table.last_error)(comm)] }.map(text);
        let last = if last.is_empty() { last } else { format!("; {last}") };
        Err(Error::new(ErrorKind::Peer, format!("NCCL {}: {what}: {name} (code {code}){last}", self.version))
            .hint("run again with NCCL_DEBUG=WARN to see what NCCL says about it"))
    }

    /// A fresh identity for one communicator. This process listens for the others from here on.
    pub fn unique_id(&self) -> Result<UniqueId> {
        let mut id = UniqueId([0; 128]);
        // SAFETY: writes the 128 bytes of `id`.
        let code = unsafe { (self.table.get_unique_id)(&mut id) };
        self.check("ncclGetUniqueId", code, ptr::null_mut()).map(|()| id)
    }

    /// Joins the communicator `id` with this thread's current device. Waits for the other ranks.
    pub fn init(&self, id: UniqueId, rank: usize, ranks: usize) -> Result<Comm> {
        let (mut comm, mut config) = (ptr::null_mut(), raw::Config::blocking());
        // SAFETY: writes `comm`; reads `config` during the call.
        let code = unsafe { (self.table.init)(&mut comm, ranks as c_int, id, rank as c_int, &mut config) };
        self.check("ncclCommInitRankConfig", code, ptr::null_mut()).map(|()| comm)
    }

    /// An error where something failed on `comm` since the last call.
    ///
    /// # Safety
    /// `comm` is a live communicator that no other thread uses.
    pub unsafe fn check_async_error(&self, comm: Comm) -> Result<()> {
        let mut state = raw::SUCCESS;
        // SAFETY: live, says the caller; writes `state`.
        let code = unsafe { (self.table.async_error)(comm, &mut state) };
        self.check("ncclCommGetAsyncError", code, comm)?;
        self.check("a collective failed", state, comm)
    }

    /// What was given to `comm` comes to its end. Waits for the device and for the other ranks.
    ///
    /// # Safety
    /// `comm` is a live communicator that no other thread uses.
    pub unsafe fn finalize(&self, comm: Comm) -> Result<()> {
        // SAFETY: as above.
        self.check("ncclCommFinalize", unsafe { (self.table.finalize)(comm) }, comm)
    }

    /// Frees a finalized communicator.
    ///
    /// # Safety
    /// As above, and it is not used afterwards.
    pub unsafe fn destroy(&self, comm: Comm) -> Result<()> {
        // SAFETY: as above; the communicator is gone when an error is told.
        self.check("ncclCommDestroy", unsafe { (self.table.destroy)(comm) }, ptr::null_mut())
    }

    /// Gives a collective to `stream`.
    ///
    /// # Safety
    /// `comm` is a live communicator that no other thread uses. The memory holds the elements that the collective reads
    /// and writes, on the communicator's device, until `stream` has done it; it is not accessed otherwise until then.
    pub unsafe fn launch(&self, collective: Collective, comm: Comm, stream: Stream) -> Result<()> {
        let table = &self.table;
        // SAFETY: says the caller.
        let (what, code) = unsafe {
            match collective {
                Collective::AllReduce { data, count, dtype } => {
                    ("ncclAllReduce", (table.all_reduce)(data, data, count, dtype, raw::SUM, comm, stream))
                }
                Collective::Reduce { data, count, dtype } => {
                    ("ncclReduce", (table.reduce)(data, data, count, dtype, raw::SUM, ROOT, comm, stream))
                }
                Collective::Broadcast { data, bytes } => {
                    ("ncclBroadcast", (table.broadcast)(data, data, bytes, raw::UINT8, ROOT, comm, stream))
                }
                Collective::AllGather { from, to, bytes } => {
                    ("ncclAllGather", (table.all_gather)(from, to, bytes, raw::UINT8, comm, stream))
                }
            }
        };
        self.check(what, code, comm)
    }
}

/// Rank of whom a broadcast comes from and a reduction goes to.
const ROOT: c_int = 0;

/// A collective on device memory. Reductions are sums, in place.
#[derive(Debug, Clone, Copy)]
pub enum Collective {
    AllReduce {
        data: *mut c_void,
        count: usize,
        dtype: c_int,
    },
    /// `data` of the other ranks stays as it is.
    Reduce {
        data: *mut c_void,
        count: usize,
        dtype: c_int,
    },
    Broadcast {
        data: *mut c_void,
        bytes: usize,
    },
    /// `bytes` of each rank, one after the other, to `to`.
    AllGather {
        from: *const c_void,
        to: *mut c_void,
        bytes: usize,
    },
}

fn text(message: *const c_char) -> String {
    if message.is_null() {
        return String::new();
    }
    // SAFETY: NCCL returns NUL-terminated strings that live at least until its next call.
    unsafe { CStr::from_ptr(message) }.to_string_lossy().trim().to_owned()
}
