//! Decoded images in one file, so that a data set of image files is decoded once: every later start maps the file, and
//! all processes of a node share one copy of it in memory.
//!
//! A pack lies in `.regun-packs` beside the images, or below the cache folder where that place is read-only. Its name
//! holds a key of everything that its pixels depend on. It is written under another name and renamed when it is
//! complete; one process builds it while others wait for its lock. It carries the fingerprint of its content, which is
//! computed again whenever it is opened: one that does not fit is set aside and built anew.

mod build;
mod file;

use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};

use self::file::{Contents, Found};
use super::listing::Listing;
use super::source::Source;
use crate::digest::sha256;
use crate::error::{Error, Result};
use crate::files;

pub use build::decode_all;

/// Part of the key: another number where the same files would give other pixels, or another file format.
const VERSION: u32 = 1;

/// How to pack.
#[derive(Debug, Clone)]
pub struct Settings<'a> {
    /// The data set, as in `data.name`.
    pub name: &'a str,
    /// Side of the squares that all images are made to; `None`: all have one size already.
    pub image_size: Option<usize>,
    /// Leave out what cannot be decoded instead of failing.
    pub skip_corrupt: bool,
    /// Where packs go when they cannot lie beside the images.
    pub cache_dir: &'a Path,
    /// Threads that decode.
    pub threads: usize,
}

/// The images of `listing`, from their pack, which is made where it is not there.
///
/// Fails with `Missing` where files cannot be decoded (unless they shall be skipped) or differ in size.
pub fn load(listing: &Listing, settings: &Settings<'_>) -> Result<Source> {
    let name = file_name(listing, settings);
    let beside = listing.root.join(".regun-packs");
    let fallback = settings.cache_dir.join("packs");
    for place in [&beside, &fallback] {
        if let Found::Ready(contents) = file::open(&place.join(&name)) {
            return contents.into_source(settings.skip_corrupt);
        }
    }
    let place = match files::check_writable(&beside) {
        Ok(()) => beside,
        Err(error) => {
            files::check_writable(&fallback)?;
            tracing::info!("{}; packed images go to {} instead", error.message(), fallback.display());
            fallback
        }
    };
    let path = place.join(&name);
    let _lock = lock(&place)?;
    // Whoever had the lock before may have made it.
    match file::open(&path) {
        Found::Ready(contents) => return contents.into_source(settings.skip_corrupt),
        Found::Damaged(why) => set_aside(&path, &why)?,
        Found::Nothing => {}
    }
    build::build(listing, settings, &path)?;
    name_leftovers(&place, settings.name, &name);
    match file::open(&path) {
        Found::Ready(contents) => contents.into_source(settings.skip_corrupt),
        Found::Damaged(why) => Err(changed(&path, &why)),
        Found::Nothing => Err(changed(&path, "it is gone")),
    }
}

/// `<name>-<key>.pack`
fn file_name(listing: &Listing, settings: &Settings<'_>) -> String {
    let key = sha256(format!("{VERSION} {:?} {}", settings.image_size, listing.key()));
    format!("{}-{}.pack", settings.name, &key[..16])
}

/// Waits until no other process builds here. The lock goes with the file handle.
fn lock(place: &Path) -> Result<Option<File>> {
    let path = place.join(".lock");
    let file = File::create(&path).map_err(|error| Error::storage("cannot write", &path, &error))?;
    let locked = match file.try_lock() {
        Err(TryLockError::WouldBlock) => {
            tracing::info!("waiting for another process to pack the images in {}", place.display());
            file.lock()
        }
        Err(TryLockError::Error(error)) => Err(error),
        Ok(()) => Ok(()),
    };
    match locked {
        Ok(()) => Ok(Some(file)),
        // A file system without locks: at worst two processes do the same work, and the last rename wins.
        Err(error) => {
            tracing::debug!("{} cannot be locked: {error}", path.display());
            Ok(None)
        }
    }
}

fn set_aside(path: &Path, why: &str) -> Result<()> {
    let aside = path.with_extension("damaged");
    fs::rename(path, &aside).map_err(|error| Error::storage("cannot rename", path, &error))?;
    tracing::warn!("{} cannot be used ({why}): renamed to {}, and made anew", path.display(), aside.display());
    Ok(())
}

/// Packs of the same data set that this start did not want: other settings use them, or the images have changed since.
fn name_leftovers(place: &Path, dataset: &str, current: &str) {
    let prefix = format!("{dataset}-");
    let is_leftover = |path: &PathBuf| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        name.starts_with(&prefix) && name != current
    };
    let paths = fs::read_dir(place).into_iter().flatten().flatten().map(|entry| entry.path());
    let leftovers: Vec<String> = paths.filter(is_leftover).map(|path| path.display().to_string()).collect();
    if !leftovers.is_empty() {
        tracing::info!(
            "delete these where no run with other settings (data.image_size) needs them: {}",
            leftovers.join(", ")
        );
    }
}

fn changed(path: &Path, why: &str) -> Error {
    Error::missing(format!("{} was packed just now and cannot be used: {why}", path.display()))
        .hint("does another program write there, or is the disk failing?")
}

impl Contents {
    /// What was left out when the pack was made is an error, or worth a warning.
    fn into_source(self, skip_corrupt: bool) -> Result<Source> {
        if !self.skipped.is_empty() {
            let error = corrupt(&self.skipped, self.source.train.len() + self.source.test.len() + self.skipped.len());
            if !skip_corrupt {
                return Err(error);
            }
            tracing::warn!("left out: {}", error.message());
        }
        Ok(self.source)
    }
}

/// How many files are named.
const NAMED: usize = 5;

/// `bad` are sentences that begin with the name of a file.
fn corrupt(bad: &[String], files: usize) -> Error {
    let mut lines: Vec<&str> = bad.iter().take(NAMED).map(String::as_str).collect();
    let more = format!("and {} more", bad.len().saturating_sub(NAMED));
    if bad.len() > NAMED {
        lines.push(&more);
    }
    Error::missing(format!("{} of {files} image files cannot be decoded:\n  {}", bad.len(), lines.join("\n  ")))
        .hint("mend or remove them, or leave them out with data.skip_corrupt=true")
}
