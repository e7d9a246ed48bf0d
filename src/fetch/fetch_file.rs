//! Fetches one published file into a folder.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use super::download::{download, file_length};
use super::download_source::DownloadSource;
use super::lock::FileLock;
use super::remote::Remote;
use super::retry_policy::RetryPolicy;
use crate::error::{Error, Result};
use crate::files;

/// Puts `remote` into `folder`, if it is not there yet, and returns its path. A file that is there already is verified
/// too, because a user may have copied it there by hand.
///
/// `mirror` replaces the file's address up to its name: an `http` or `https` address, or a folder (`file://` or a
/// path).
///
/// # Errors
/// `Missing` if the file cannot be fetched or is not the published one, `Storage` if it cannot be written.
pub fn fetch(remote: &Remote, mirror: Option<&str>, folder: &Path, retry: &RetryPolicy) -> Result<PathBuf> {
    let path = folder.join(remote.name());
    if path.exists() {
        return verify(remote, &path).map(|()| path);
    }
    let lock = FileLock::take(&path)?;
    fetch_locked(remote, mirror, folder, retry, &lock)
}

/// Like [`fetch`], for a caller that holds the lock of the file already.
pub fn fetch_locked(
    remote: &Remote,
    mirror: Option<&str>,
    folder: &Path,
    retry: &RetryPolicy,
    _held: &FileLock,
) -> Result<PathBuf> {
    let path = folder.join(remote.name());
    if path.exists() {
        return verify(remote, &path).map(|()| path);
    }
    let partial = folder.join(format!("{}.partial", remote.name()));
    if let Some(bytes) = remote.bytes {
        files::check_space(folder, bytes.saturating_sub(file_length(&partial)))?;
    }
    match DownloadSource::of(remote, mirror) {
        DownloadSource::File(source) => copy(remote, &source, &partial)?,
        DownloadSource::Address(url) => download(remote, &url, &partial, retry)?,
    }
    let fail = |source| Error::storage("cannot write", &path, &source);
    File::open(&partial).and_then(|file| file.sync_all()).map_err(fail)?;
    fs::rename(&partial, &path).map_err(fail)?;
    Ok(path)
}

fn copy(remote: &Remote, source: &Path, partial: &Path) -> Result<()> {
    let mut from =
        File::open(source).map_err(|error| Error::missing(format!("cannot copy {}: {error}", source.display())))?;
    let mut to = File::create(partial).map_err(|error| Error::storage("cannot write", partial, &error))?;
    io::copy(&mut from, &mut to)
        .map_err(|error| Error::storage(&format!("cannot copy {} to", source.display()), partial, &error))?;
    // The error names the source, not the copy: the user has to replace the source.
    verify(remote, partial).map_err(|_| verify(remote, source).err().unwrap_or_else(|| changed(source)))
}

fn changed(source: &Path) -> Error {
    Error::missing(format!("{} changed while it was copied", source.display()))
}

/// Fails unless the file is the published one.
fn verify(remote: &Remote, path: &Path) -> Result<()> {
    match remote.checksum.difference(path)? {
        None => Ok(()),
        Some(difference) => Err(Error::missing(format!("{} is not the published file: {difference}", path.display()))
            .hint("remove it, or replace it by a good copy")),
    }
}
