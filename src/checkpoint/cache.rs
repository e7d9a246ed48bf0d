//! Caches: safetensors files whose identity is a key. They may be lost at any time and are made again.

use std::path::Path;

use tch::Tensor;

use super::native::{load, save};
use super::{Facts, Manifest};
use crate::error::Result;

/// What `decode` makes of the tensors of a cache file whose identity is `key`.
///
/// `None` where there is no such file or where it is of something else; a damaged one is named, set aside and forgotten.
pub fn read_cache<T>(path: &Path, key: &Facts, decode: impl FnOnce(&[(String, Tensor)]) -> Result<T>) -> Option<T> {
    if !path.exists() {
        return None;
    }
    let read = || -> Result<Option<T>> {
        let file = load(path)?;
        let differences = file.manifest.identity.differences(key);
        if !differences.is_empty() {
            let path = path.display();
            tracing::info!("cache {path} is of other settings and is made again:\n  {}", differences.join("\n  "));
            return Ok(None);
        }
        decode(&file.tensors).map(Some)
    };
    read().unwrap_or_else(|error| {
        let aside = path.with_extension("corrupt");
        tracing::warn!("{}; set aside as {} and made again", error.message(), aside.display());
        if let Err(error) = std::fs::rename(path, &aside) {
            tracing::warn!("cannot rename {}: {error}", path.display());
        }
        None
    })
}

/// Writes a cache file. A failure is a warning: the next run makes its contents again.
pub fn write_cache(path: &Path, key: &Facts, tensors: &[(String, Tensor)]) {
    let manifest = Manifest { identity: key.clone(), ..Manifest::default() };
    if let Err(error) = save(path, &manifest, tensors) {
        tracing::warn!("the cache is not kept: {}", error.message());
    }
}
