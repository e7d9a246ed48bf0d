//! Finds the pack of a data set, or builds it.

use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};

use super::build::build;
use super::contents::{PackLookup, open};
use super::options::PackOptions;
use crate::data::listing::ImageListing;
use crate::data::raw_dataset::RawDataset;
use crate::digest::sha256;
use crate::error::{Error, Result};
use crate::files;

/// Part of the key. It must change when the same files would give other pixels or another file format.
const VERSION: u32 = 2;

/// The images of `listing`, from their pack. If there is no pack yet, it is built first.
///
/// # Errors
/// `Missing` if files cannot be decoded (without `skip_corrupt`) or differ in size.
pub fn load(listing: &ImageListing, options: &PackOptions<'_>) -> Result<RawDataset> {
    let name = file_name(listing, options);
    let beside = listing.root.join(".regun-packs");
    let fallback = options.cache_dir.join("packs");
    for place in [&beside, &fallback] {
        if let PackLookup::Ready(contents) = open(&place.join(&name)) {
            return contents.into_dataset(options.skip_corrupt);
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
    // Another process may have built it while this one waited for the lock.
    match open(&path) {
        PackLookup::Ready(contents) => return contents.into_dataset(options.skip_corrupt),
        PackLookup::Damaged(why) => rename_damaged(&path, &why)?,
        PackLookup::Absent => {}
    }
    build(listing, options, &path)?;
    log_leftovers(&place, options.name, &name);
    match open(&path) {
        PackLookup::Ready(contents) => contents.into_dataset(options.skip_corrupt),
        PackLookup::Damaged(why) => Err(changed(&path, &why)),
        PackLookup::Absent => Err(changed(&path, "it is gone")),
    }
}

/// File name of the pack: `<name>-<key>.pack`.
fn file_name(listing: &ImageListing, options: &PackOptions<'_>) -> String {
    let key = sha256(format!("{VERSION} {:?} {}", options.image_size, listing.key()));
    format!("{}-{}.pack", options.name, &key[..16])
}

/// Waits until no other process builds a pack in `place`. Closing the file releases the lock. `None` if the file system
/// has no locks.
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
        // Without locks two processes may do the same work, and the last rename wins.
        Err(error) => {
            tracing::debug!("{} cannot be locked: {error}", path.display());
            Ok(None)
        }
    }
}

/// Renames a damaged pack.
fn rename_damaged(path: &Path, why: &str) -> Result<()> {
    let aside = path.with_added_extension("damaged");
    fs::rename(path, &aside).map_err(|error| Error::storage("cannot rename", path, &error))?;
    tracing::warn!("{} cannot be used ({why}): renamed to {}, and built again", path.display(), aside.display());
    Ok(())
}

/// Logs the other packs of the same data set. They belong to other settings, or the images have changed since.
fn log_leftovers(place: &Path, dataset: &str, current: &str) {
    let prefix = format!("{dataset}-");
    let is_leftover = |path: &PathBuf| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        name.starts_with(&prefix) && name != current
    };
    let paths = fs::read_dir(place).into_iter().flatten().flatten().map(|entry| entry.path());
    let leftovers: Vec<String> = paths.filter(is_leftover).map(|path| path.display().to_string()).collect();
    if !leftovers.is_empty() {
        tracing::info!(
            "delete these packs unless a run with other settings (data.image_size) needs them: {}",
            leftovers.join(", ")
        );
    }
}

fn changed(path: &Path, why: &str) -> Error {
    Error::missing(format!("{} was packed just now and cannot be used: {why}", path.display()))
        .hint("does another program write there, or is the disk failing?")
}
