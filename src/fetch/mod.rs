//! Files from elsewhere: fetched once, verified, there as a whole or not at all.
//!
//! [`fetch`] takes a file from its address or a mirror to a folder. It grows as `<name>.partial` and gets its name when
//! its checksum is right, so whatever has the name can be used. A download that ends early goes on where it was, in
//! this process ([`download`]) or the next. [`lock`] keeps processes and machines that share the folder apart,
//! [`client`] knows proxies and certificates, [`unpack`] opens archives.

mod checksum;
mod client;
mod download;
mod lock;
mod proxy;
pub mod unpack;

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::Duration;

pub use checksum::Checksum;
pub use lock::Lock;

use crate::error::{Error, Result};
use crate::files;

/// A published file.
#[derive(Debug, Clone, Copy)]
pub struct Remote<'a> {
    /// Its address; the last part of the path is its name, there, on a mirror and here.
    pub url: &'a str,
    /// Its size, where that is known.
    pub bytes: Option<u64>,
    pub checksum: Checksum<'a>,
}

impl<'a> Remote<'a> {
    pub fn name(&self) -> &'a str {
        self.url.rsplit('/').next().unwrap_or(self.url)
    }
}

/// When to give up.
#[derive(Debug, Clone, Copy)]
pub struct RetryPolicy {
    /// Longest wait for a connection.
    pub connect: Duration,
    /// Longest wait for the next byte.
    pub stall: Duration,
    /// How many attempts in a row may bring nothing new.
    pub attempts: u32,
    /// Wait before the second attempt; it doubles from one to the next.
    pub pause: Duration,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        let seconds = Duration::from_secs;
        RetryPolicy { connect: seconds(15), stall: seconds(60), attempts: 4, pause: seconds(1) }
    }
}

/// The path of `remote` in `folder`, where it is put if it is not there yet. What is there is verified too: somebody
/// may have put it there by hand.
///
/// `mirror` stands for the folder of the file's address: an `http` or `https` address, or a folder (`file://` or a path).
///
/// # Errors
/// `Missing` where the file cannot be had or is not the published one, `Storage` where it cannot be written.
pub fn fetch(remote: &Remote, mirror: Option<&str>, folder: &Path, retry: &RetryPolicy) -> Result<PathBuf> {
    let path = folder.join(remote.name());
    if path.exists() {
        return verify(remote, &path).map(|()| path);
    }
    let lock = Lock::take(&path)?;
    fetch_locked(remote, mirror, folder, retry, &lock)
}

/// The same for a caller that holds the lock of the file already.
pub fn fetch_locked(
    remote: &Remote,
    mirror: Option<&str>,
    folder: &Path,
    retry: &RetryPolicy,
    _held: &Lock,
) -> Result<PathBuf> {
    let path = folder.join(remote.name());
    if path.exists() {
        return verify(remote, &path).map(|()| path);
    }
    let partial = folder.join(format!("{}.partial", remote.name()));
    if let Some(bytes) = remote.bytes {
        let have = fs::metadata(&partial).map_or(0, |metadata| metadata.len());
        files::check_space(folder, bytes.saturating_sub(have))?;
    }
    match Place::of(remote, mirror) {
        Place::Folder(source) => copy(remote, &source, &partial)?,
        Place::Address(url) => download::download(remote, &url, &partial, retry)?,
    }
    let fail = |source| Error::storage("cannot write", &path, &source);
    File::open(&partial).and_then(|file| file.sync_all()).map_err(fail)?;
    fs::rename(&partial, &path).map_err(fail)?;
    Ok(path)
}

/// Where a file is taken from.
enum Place {
    Folder(PathBuf),
    Address(String),
}

impl Place {
    fn of(remote: &Remote, mirror: Option<&str>) -> Self {
        match mirror.filter(|mirror| !mirror.is_empty()) {
            None => Place::Address(remote.url.to_owned()),
            Some(mirror) => match mirror.strip_prefix("file://") {
                Some(folder) => Place::Folder(Path::new(folder).join(remote.name())),
                None if mirror.contains("://") => {
                    Place::Address(format!("{}/{}", mirror.trim_end_matches('/'), remote.name()))
                }
                None => Place::Folder(Path::new(mirror).join(remote.name())),
            },
        }
    }
}

fn copy(remote: &Remote, source: &Path, partial: &Path) -> Result<()> {
    let mut from =
        File::open(source).map_err(|error| Error::missing(format!("cannot copy {}: {error}", source.display())))?;
    let mut to = File::create(partial).map_err(|error| Error::storage("cannot write", partial, &error))?;
    std::io::copy(&mut from, &mut to)
        .map_err(|error| Error::storage(&format!("cannot copy {} to", source.display()), partial, &error))?;
    // Said of the source, not of the copy: that is what has to be mended.
    verify(remote, partial).map_err(|_| verify(remote, source).err().unwrap_or_else(|| changed(source)))
}

fn changed(source: &Path) -> Error {
    Error::missing(format!("{} changed while it was copied", source.display()))
}

/// An error unless the file is the published one.
fn verify(remote: &Remote, path: &Path) -> Result<()> {
    match remote.checksum.difference(path)? {
        None => Ok(()),
        Some(difference) => Err(Error::missing(format!("{} is not the published file: {difference}", path.display()))
            .hint("remove it, or replace it by a good copy")),
    }
}
