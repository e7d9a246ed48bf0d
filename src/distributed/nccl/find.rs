//! Finds and opens NCCL on this machine.
//!
//! The search goes in this order: the file in `REGUN_NCCL_LIB` (if it is set, no other); the library that libtorch has
//! loaded, which fits its CUDA; `libnccl.so.2` in the system's search path; the folder beside libtorch in which the
//! Python wheels install it.

use std::ffi::{OsStr, OsString, c_int};

use libloading::os::unix::{Library as OpenLibrary, RTLD_LAZY, RTLD_LOCAL};

use super::library::{NcclLibrary, NcclVersion};
use super::raw::NcclTable;
use crate::error::{Error, Result};
use crate::torch;
use crate::torch::symbols::reason;

const VARIABLE: &str = "REGUN_NCCL_LIB";
/// Its name in runtime packages.
const NAME: &str = "libnccl.so.2";
/// `RTLD_NOLOAD` of Linux: opens only a library that is already loaded.
const RTLD_NOLOAD: c_int = 4;
/// The first version with `ncclCommInitRankConfig` and `ncclCommFinalize`.
const OLDEST: NcclVersion = NcclVersion(21400);

impl NcclLibrary {
    /// Finds and opens NCCL.
    ///
    /// # Errors
    /// There is none on this machine, or it does not fit.
    pub fn find() -> Result<Self> {
        if let Some(path) = std::env::var_os(VARIABLE) {
            return Self::open(&path);
        }
        let beside = torch::libtorch_folder().map(|folder| folder.join("../../nvidia/nccl/lib").join(NAME));
        let candidates = [(OsString::from(NAME), RTLD_NOLOAD), (OsString::from(NAME), 0)];
        let candidates = candidates.into_iter().chain(beside.map(|path| (path.into_os_string(), 0)));
        let mut tried = Vec::new();
        for (path, flags) in candidates {
            match open(&path, flags) {
                Ok(library) => return Self::new(library, &path),
                Err(_) if flags == RTLD_NOLOAD => {}
                Err(error) => tried.push(error),
            }
        }
        Err(Error::missing(format!("there is no NCCL: {}", tried.join("; ")))
            .hint(format!("install it (pip install nvidia-nccl-cu13, say) or set {VARIABLE} to its {NAME}")))
    }

    /// Opens the library in this file, or of this name in the system's search path.
    pub fn open(path: &OsStr) -> Result<Self> {
        let library = open(path, 0).map_err(|error| {
            Error::missing(format!("NCCL cannot be opened: {error}")).hint(format!("{VARIABLE} chooses the file"))
        })?;
        Self::new(library, path)
    }

    fn new(library: OpenLibrary, path: &OsStr) -> Result<Self> {
        let origin = path.to_string_lossy().into_owned();
        let unfit = |why: String| {
            Error::missing(format!("NCCL ({origin}) does not fit: {why}"))
                .hint(format!("NCCL {OLDEST} or later is needed; set {VARIABLE} to another {NAME}"))
        };
        // SAFETY: signatures as in nccl.h of all versions that have these functions.
        let table =
            unsafe { NcclTable::load(library.into()) }.map_err(|symbol| unfit(format!("it has no {symbol}")))?;
        let library = NcclLibrary::from_table(table, origin.clone())
            .map_err(|code| unfit(format!("ncclGetVersion returns {code}")))?;
        match library.version() {
            version if version < OLDEST => Err(unfit(format!("it is version {version}"))),
            _ => Ok(library),
        }
    }
}

fn open(path: &OsStr, flags: c_int) -> Result<OpenLibrary, String> {
    // SAFETY: any program may run NCCL's initialisers; the user vouches for a file of their choice.
    unsafe { OpenLibrary::open(Some(path), RTLD_LAZY | RTLD_LOCAL | flags) }.map_err(|error| reason(&error))
}
