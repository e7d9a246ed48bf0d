//! One process at a time makes a file or folder.

use std::fs::{File, TryLockError};
use std::io::ErrorKind;
use std::path::Path;

use crate::error::{Error, Result};
use crate::files;

/// Holds the lock of one path, among all processes and machines that share its folder, until it is dropped or the
/// process ends.
///
/// The lock lies on a hidden file beside the path, which stays: to remove it would let a third process lock a new one
/// while a second waits for the old.
pub struct Lock {
    /// `None` on file systems without locks.
    _file: Option<File>,
}

impl Lock {
    /// Waits for whoever has it, and says so.
    pub fn take(path: &Path) -> Result<Self> {
        let folder = path.parent().unwrap_or(Path::new("."));
        files::create_folder(folder)?;
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let lock = folder.join(format!(".{name}.lock"));
        let fail = |source| Error::storage("cannot lock", &lock, &source);
        let file = File::options().create(true).append(true).open(&lock).map_err(fail)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                tracing::info!("waiting: another process makes {} (it holds {})", path.display(), lock.display());
                file.lock().map_err(fail)?;
            }
            // Lustre mounted without flock, for one.
            Err(TryLockError::Error(error)) if error.kind() == ErrorKind::Unsupported => {
                tracing::warn!("{}: no locks here; start only one job while data are fetched", folder.display());
                return Ok(Lock { _file: None });
            }
            Err(TryLockError::Error(error)) => return Err(fail(error)),
        }
        Ok(Lock { _file: Some(file) })
    }
}
