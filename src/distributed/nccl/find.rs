//! Where NCCL is, on this machine.
//!
//! Looked for when it is asked for, in this order: the file that `REGUN_NCCL_LIB` names (and no other); the library
//! that libtorch has loaded, which fits its CUDA; `libnccl.so.2` where the system looks; beside libtorch, where the
//! Python wheels put it.

use std::ffi::{OsStr, OsString, c_int};

use libloading::os::unix::{Library as Open, RTLD_LAZY, RTLD_LOCAL};

use super::library::{Library, Version};
use super::raw::Table;
use crate::error::{Error, Result};
use crate::torch;
use crate::torch::symbols::reason;

const VARIABLE: &str = "REGUN_NCCL_LIB";
/// What runtime packages call it.
const NAME: &str = "libnccl.so.2";
/// `RTLD_NOLOAD` of Linux: only what is loaded already.
const RTLD_NOLOAD: c_int = 4;
/// The first version with `ncclCommInitRankConfig` and `ncclCommFinalize`.
const OLDEST: Version = Version(21400);

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
        let library = Library::from_table(table, origin.clone())
            .map_err(|code| unfit(format!("ncclGetVersion returns {code}")))?;
        match library.version() {
            version if version < OLDEST => Err(unfit(format!("it is version {version}"))),
            _ => Ok(library),
        }
    }
}

fn open(path: &OsStr, flags: c_int) -> Result<Open, String> {
    // SAFETY: NCCL's initialisers are made to be run by any program; so is a user's choice of file.
    unsafe { Open::open(Some(path), RTLD_LAZY | RTLD_LOCAL | flags) }.map_err(|error| reason(&error))
}
