//! Caches: safetensors files whose identity is the key. They may be deleted at any time; the next run makes them anew.

use std::path::Path;

use tch::Tensor;

use super::facts::Facts;
use super::manifest::Manifest;
use super::native::{load, save};
use crate::error::Result;

/// Reads a cache file and decodes its tensors, if the identity of the file is `key`.
///
/// Returns `None` if there is no such file or if its identity is another one. A damaged file is renamed to `*.corrupt`
/// with a warning, and the result is `None`.
pub fn read_cache<T>(path: &Path, key: &Facts, decode: impl FnOnce(&[(String, Tensor)]) -> Result<T>) -> Option<T> {
    if !path.exists() {
        return None;
    }
    let read = || -> Result<Option<T>> {
        let file = load(path)?;
        let differences = file.manifest.identity.differences(key);
        if !differences.is_empty() {
            let path = path.display();
            tracing::info!(
                "cache {path} belongs to other settings and is computed again:\n  {}",
                differences.join("\n  ")
            );
            return Ok(None);
        }
        decode(&file.tensors).map(Some)
    };
    read().unwrap_or_else(|error| {
        let aside = path.with_added_extension("corrupt");
        tracing::warn!("{}; renamed to {}, and computed again", error.message(), aside.display());
        if let Err(error) = std::fs::rename(path, &aside) {
            tracing::warn!("cannot rename {}: {error}", path.display());
        }
        None
    })
}

/// Writes a cache file. A failure is only a warning, because the next run computes the contents again.
pub fn write_cache(path: &Path, key: &Facts, tensors: &[(String, Tensor)]) {
    let manifest = Manifest { identity: key.clone(), ..Manifest::default() };
    if let Err(error) = save(path, &manifest, tensors) {
        tracing::warn!("the cache is not kept: {}", error.message());
    }
}
