//! The NCCL library of this machine, found when it is asked for, with C's error codes turned into [`Error`]s.
//!
//! Looked for in this order: the file that `REGUN_NCCL_LIB` names (and no other); the library that libtorch has loaded,
//! which fits its CUDA; `libnccl.so.2` where the system looks; beside libtorch, where the Python wheels put it.

use std::ffi::{CStr, OsStr, OsString, c_char, c_int, c_void};
use std::fmt;
use std::ptr;

use libloading::os::unix::{Library as Open, RTLD_LAZY, RTLD_LOCAL};

use super::raw::{self, Comm, Stream, Table, UniqueId};
use crate::error::{Error, Kind, Result};
use crate::torch;
use crate::torch::symbols::reason;

const VARIABLE: &str = "REGUN_NCCL_LIB";
/// What runtime packages call it.
const NAME: &str = "libnccl.so.2";
/// `RTLD_NOLOAD` of Linux: only what is loaded already.
const RTLD_NOLOAD: c_int = 4;
/// The first version with non-blocking communicators and `ncclCommFinalize`.
const OLDEST: Version = Version(21400);

/// `NCCL_VERSION_CODE`: 22809 is 2.28.9.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd)]
pub struct Version(c_int);

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Up to 2.8 a version was coded with fewer digits.
        let (major, rest) = if self.0 < 10000 { (self.0 / 1000, self.0 % 1000) } else { (self.0 / 10000, self.0 % 10000) };
        write!(f, "{major}.{}.{}", rest / 100, rest % 100)
    }
}

/// How far the calls on a communicator have come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    Done,
    Pending,
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
    /// Finds and opens it.
    pub fn find() -> Result<Self> {
        if let Some(path) = std::env::var_os(VARIABLE) {
            return Self::open(&path);
        }
        let beside = torch::libtorch_folder().map(|folder| folder.join("../../nvidia/nccl/lib").join(NAME));
        let places = [(OsString::from(NAME), RTLD_NOLOAD), (OsString::from(NAME), 0)];
        let places = places.into_iter().chain(beside.map(|path| (path.into_os_string(), 0)));
        let mut tried = Vec::new();
        for (place, flags) in places {
            match open(&place, flags) {
                Ok(library) => return Self::new(library, &place),
                Err(_) if flags == RTLD_NOLOAD => {}
                Err(error) => tried.push(error),
            }
        }
        Err(Error::missing(format!("there is no NCCL: {}", tried.join("; ")))
            .hint(format!("install it (pip install nvidia-nccl-cu13, say) or set {VARIABLE} to its {NAME}")))
    }

    /// The library of this file, or of this name where the system looks.
    pub fn open(path: &OsStr) -> Result<Self> {
        let library = open(path, 0).map_err(|error| {
            Error::missing(format!("NCCL cannot be opened: {error}")).hint(format!("{VARIABLE} chooses the file"))
        })?;
        Self::new(library, path)
    }

    fn new(library: Open, path: &OsStr) -> Result<Self> {
        let origin = path.to_string_lossy().into_owned();
        let unfit = |why: String| {
            Error::missing(format!("NCCL ({origin}) does not fit: {why}"))
                .hint(format!("NCCL {OLDEST} or later is needed; set {VARIABLE} to another {NAME}"))
        };
        // SAFETY: signatures as in nccl.h of all versions that have these functions.
        let table = unsafe { Table::load(library.into()) }.map_err(|symbol| unfit(format!("it has no {symbol}")))?;
        let mut code = 0;
        // SAFETY: writes an int.
        let result = unsafe { (table.get_version)(&mut code) };
        if result != raw::SUCCESS {
            return Err(unfit(format!("ncclGetVersion returns {result}")));
        }
        let version = Version(code);
        if version < OLDEST {
            return Err(unfit(format!("it is version {version}")));
        }
        Ok(Library { table, version, origin })
    }

    pub fn version(&self) -> Version {
        self.version
    }

    /// `code` of the call `what`; `comm` may be null.
    fn check(&self, what: &str, code: c_int, comm: Comm) -> Result<Progress> {
        match code {
            raw::SUCCESS => Ok(Progress::Done),
            raw::IN_PROGRESS => Ok(Progress::Pending),
            code => {
                // SAFETY: NCCL returns static strings for any code, and its last error for a live or null communicator.
                let [name, last] = unsafe { [(self.table.error_string)(code), (self.table.last_error)(comm)] }.map(text);
                let last = if last.is_empty() { last } else { format!("; {last}") };
                Err(Error::new(Kind::Peer, format!("NCCL {}: {what}: {name} (code {code}){last}", self.version))
                    .hint("run again with NCCL_DEBUG=WARN to see what NCCL says about it"))
            }
        }
    }

    /// A fresh identity for one communicator. This process listens for the others from here on.
    pub fn unique_id(&self) -> Result<UniqueId> {
        let mut id = UniqueId([0; 128]);
        // SAFETY: writes the 128 bytes of `id`.
        let code = unsafe { (self.table.get_unique_id)(&mut id) };
        self.check("ncclGetUniqueId", code, ptr::null_mut()).map(|_| id)
    }

    /// Begins to join the communicator `id` with this thread's current device.
    pub fn init(&self, id: UniqueId, rank: usize, ranks: usize) -> Result<(Comm, Progress)> {
        let (mut comm, mut config) = (ptr::null_mut(), raw::Config::non_blocking());
        // SAFETY: writes `comm`; reads `config` during the call.
        let code = unsafe { (self.table.init)(&mut comm, ranks as c_int, id, rank as c_int, &mut config) };
        self.check("ncclCommInitRankConfig", code, ptr::null_mut()).map(|progress| (comm, progress))
    }

    /// What became of the calls on `comm`; an error also where something failed since.
    ///
    /// # Safety
    /// `comm` is a live communicator, and no other thread is in this function with it.
    pub unsafe fn progress(&self, comm: Comm) -> Result<Progress> {
        let mut state = raw::SUCCESS;
        // SAFETY: live, says the caller; writes `state`.
        let code = unsafe { (self.table.async_error)(comm, &mut state) };
        self.check("ncclCommGetAsyncError", code, comm)?;
        self.check("a collective failed", state, comm)
    }

    /// Begins the end of `comm`: what was given to it is still done.
    ///
    /// # Safety
    /// `comm` is a live communicator that no other thread uses.
    pub unsafe fn finalize(&self, comm: Comm) -> Result<Progress> {
        // SAFETY: as above.
        self.check("ncclCommFinalize", unsafe { (self.table.finalize)(comm) }, comm)
    }

    /// Frees a finalized communicator.
    ///
    /// # Safety
    /// As above, and it is not used afterwards.
    pub unsafe fn destroy(&self, comm: Comm) -> Result<()> {
        // SAFETY: as above; the communicator is gone when an error is told.
        self.check("ncclCommDestroy", unsafe { (self.table.destroy)(comm) }, ptr::null_mut()).map(drop)
    }

    /// Ends and frees a communicator with all that runs on it. May wait for the device and for other ranks.
    ///
    /// # Safety
    /// `comm` is a live communicator that is not used afterwards. Other threads may be in the middle of a call.
    pub unsafe fn abort(&self, comm: Comm) -> Result<()> {
        // SAFETY: as above.
        self.check("ncclCommAbort", unsafe { (self.table.abort)(comm) }, ptr::null_mut()).map(drop)
    }

    /// Gives a collective to `stream`.
    ///
    /// # Safety
    /// `comm` is a live communicator that no other thread uses. The memory holds the elements that the collective reads
    /// and writes, on the communicator's device, until `stream` has done it; it is not accessed otherwise until then.
    pub unsafe fn launch(&self, collective: Collective, comm: Comm, stream: Stream) -> Result<Progress> {
        let table = &self.table;
        // SAFETY: says the caller.
        let (what, code) = unsafe {
            match collective {
                Collective::AllReduce { data, count, dtype } => (
                    "ncclAllReduce",
                    (table.all_reduce)(data, data, count, dtype, raw::SUM, comm, stream),
                ),
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
    AllReduce { data: *mut c_void, count: usize, dtype: c_int },
    /// `data` of the other ranks stays as it is.
    Reduce { data: *mut c_void, count: usize, dtype: c_int },
    Broadcast { data: *mut c_void, bytes: usize },
    /// `bytes` of each rank, one after the other, to `to`.
    AllGather { from: *const c_void, to: *mut c_void, bytes: usize },
}

fn open(path: &OsStr, flags: c_int) -> Result<Open, String> {
    // SAFETY: NCCL's initialisers are made to be run by any program; so is a user's choice of file.
    unsafe { Open::open(Some(path), RTLD_LAZY | RTLD_LOCAL | flags) }.map_err(|error| reason(&error))
}

fn text(message: *const c_char) -> String {
    if message.is_null() {
        return String::new();
    }
    // SAFETY: NCCL returns NUL-terminated strings that live at least until its next call.
    unsafe { CStr::from_ptr(message) }.to_string_lossy().trim().to_owned()
}
