//! A lock on a path: one process at a time makes that file or folder.

use std::fs::{File, TryLockError};
use std::io::ErrorKind;
use std::path::Path;

use crate::error::{Error, Result};
use crate::files;

/// The lock of one path, among all processes and machines that share its folder. It is released when this value is
/// dropped or the process ends.
///
/// The locked file is a hidden file beside the path. It is never removed: otherwise a second process could wait for the
/// old file while a third one locks a new file.
pub struct FileLock {
    /// `None` on file systems without locks.
    _file: Option<File>,
}

impl FileLock {
    /// Takes the lock of `path`. If another process holds it, logs that and waits.
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
            // For example Lustre, mounted without flock.
            Err(TryLockError::Error(error)) if error.kind() == ErrorKind::Unsupported => {
                tracing::warn!("{}: no locks here; start only one job while data are fetched", folder.display());
                return Ok(FileLock { _file: None });
            }
            Err(TryLockError::Error(error)) => return Err(fail(error)),
        }
        Ok(FileLock { _file: Some(file) })
    }
}
