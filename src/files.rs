//! Atomic writes: a file is complete or absent. Also checks of folders and of free disk space.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use crate::error::{Error, ErrorKind, Result};

/// Writes `path` through a temporary file in the same folder, so that a killed run leaves the complete old file or the
/// complete new one. Creates missing folders.
///
/// # Errors
/// Of kind `Storage`.
pub fn write_atomic(path: &Path, contents: &[u8]) -> Result<()> {
    write_atomic_with(path, |file| {
        file.write_all(contents).map_err(|source| Error::storage("cannot write", path, &source))
    })
}

/// Writes `path` like [`write_atomic`], with the content that `write` writes. If `write` fails, `path` stays as it was
/// and the temporary file is removed.
pub fn write_atomic_with<T>(path: &Path, write: impl FnOnce(&mut File) -> Result<T>) -> Result<T> {
    let fail = |source: io::Error| Error::storage("cannot write", path, &source);
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    create_folder(folder)?;
    let mut file = tempfile::Builder::new()
        .prefix(".writing-")
        .permissions(fs::Permissions::from_mode(0o666)) // the umask applies, as for any other file
        .tempfile_in(folder)
        .map_err(fail)?;
    let written = write(file.as_file_mut())?;
    file.as_file().sync_all().map_err(fail)?;
    file.persist(path).map_err(|error| fail(error.error))?;
    // Syncing the folder makes the rename survive a power cut.
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(fail)?;
    Ok(written)
}

/// The text of a path.
///
/// # Errors
/// A usage error for a path that is not UTF-8. Its text would be that of another path.
pub fn text_of(path: &Path) -> Result<&str> {
    path.to_str().ok_or_else(|| Error::usage(format!("the path {path:?} is not UTF-8")).hint("use another name"))
}

/// Checks that files can be created in a folder. Call this before a long computation that writes there.
pub fn check_writable(folder: &Path) -> Result<()> {
    create_folder(folder)?;
    match tempfile::tempfile_in(folder) {
        Ok(_) => Ok(()),
        Err(source) => Err(Error::storage("cannot make files in", folder, &source)),
    }
}

/// Returns an error of kind `Storage` if fewer than `bytes` bytes are free in a folder. Quotas are not checked; a write
/// that exceeds one fails later.
pub fn check_space(folder: &Path, bytes: u64) -> Result<()> {
    create_folder(folder)?;
    // Some file systems do not report free space. Then a full disk is noticed by the write.
    let Ok(state) = rustix::fs::statvfs(folder) else { return Ok(()) };
    let free = state.f_bavail.saturating_mul(state.f_frsize);
    if free >= bytes {
        return Ok(());
    }
    let megabytes = |bytes: u64| bytes.div_ceil(1_000_000);
    Err(Error::new(
        ErrorKind::Storage,
        format!("{}: {} MB are free, wanted {} MB", folder.display(), megabytes(free), megabytes(bytes)),
    )
    .hint("make room, or choose another folder"))
}

/// Creates a folder and its missing parents.
pub fn create_folder(path: &Path) -> Result<()> {
    fs::create_dir_all(path).map_err(|source| Error::storage("cannot create folder", path, &source))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writing_replaces_the_whole_file_and_leaves_no_temporary_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("deep/er/file.json");
        for contents in ["first, and longer", "second"] {
            write_atomic(&path, contents.as_bytes()).unwrap();
            assert_eq!(fs::read_to_string(&path).unwrap(), contents);
        }
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
    }

    #[test]
    fn too_little_free_space_is_an_error_before_anything_is_written() {
        let folder = tempfile::tempdir().unwrap();
        check_space(folder.path(), 1).unwrap();
        let error = check_space(folder.path(), u64::MAX).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Storage);
        assert!(error.message().contains("wanted 18446744073710 MB"), "{error}");
    }

    #[test]
    fn a_failed_write_is_a_storage_error_that_names_the_file() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("file"), "x").unwrap();
        let error = write_atomic(&folder.path().join("file/below"), b"y").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Storage);
        assert!(error.message().contains("file"), "{error}");
    }
}
