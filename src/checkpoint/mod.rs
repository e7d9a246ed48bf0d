//! Checkpoints: model files that say what they are and where they came from.
//!
//! | module | holds |
//! | --- | --- |
//! | [`native`] | our own files (`.safetensors`) |
//! | [`pytorch`] | those of PyTorch and Lightning (`.pt`, `.pth`, `.ckpt`), which are read without executing anything, and written |
//! | [`facts`] | identity and provenance, and their comparison |
//! | [`cache`] | files of the same kind that may be lost |
//! | [`bytes`] | tensors as bytes, checksums |
//!
//! Tensor names are torchvision's. The manifest holds the *identity* (what must fit before the weights may be used:
//! data, split, architecture, classes, seed, role), the *provenance* (how the model was trained: recorded, compared
//! with a warning) and the resolved configuration. A file that regun did not write has at most a configuration.

mod bytes;
mod cache;
mod facts;
mod native;
pub mod pytorch;

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use tch::Tensor;

use crate::error::{Error, Result};

pub use bytes::fingerprint;
pub use cache::{read_cache, write_cache};
pub use facts::Facts;
pub use native::save;

/// What is known of a checkpoint besides its tensors.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    pub identity: Facts,
    pub provenance: Facts,
    /// Epochs that the weights have seen.
    pub epoch: usize,
    /// Resolved configuration, YAML; empty where there is none.
    pub config: String,
    /// Version of the program that wrote the file.
    pub version: String,
    /// Who made the model, where it was not regun: "Lightning 2.6.6", "PyTorch". Such a model has neither identity nor
    /// provenance, and is checked by its configuration.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub origin: Option<String>,
}

/// A checkpoint in memory.
pub struct Checkpoint {
    pub manifest: Manifest,
    /// In the order of the architecture's layout when saved, by name when loaded.
    pub tensors: Vec<(String, Tensor)>,
    /// SHA-256 (hex) of names, dtypes, shapes and bytes of the tensors.
    pub checksum: String,
    pub path: PathBuf,
}

/// Reads and checks a checkpoint of any kind, by its content; nothing is said yet about whether it fits.
///
/// # Errors
/// All of kind [`ErrorKind::Missing`]: a file that is missing, damaged or of another kind, a pickle that wants
/// to call what is not known to make data.
pub fn load(path: &Path) -> Result<Checkpoint> {
    let mut start = Vec::new();
    File::open(path)
        .and_then(|file| file.take(pytorch::START).read_to_end(&mut start))
        .map_err(|e| unreadable(path, &e))?;
    match pytorch::Container::of(&start) {
        Some(container) => pytorch::load(path, container),
        None => native::load(path),
    }
}

fn unreadable(path: &Path, source: &std::io::Error) -> Error {
    Error::missing(match source.kind() {
        std::io::ErrorKind::NotFound => format!("checkpoint {} does not exist", path.display()),
        _ => format!("checkpoint {} cannot be read: {source}", path.display()),
    })
}

impl Checkpoint {
    /// Whether another program made the model: it has no identity.
    pub fn is_foreign(&self) -> bool {
        self.manifest.origin.is_some()
    }

    /// An error unless the identity has all facts of `wanted`; it names those that differ.
    pub fn expect(&self, wanted: &Facts) -> Result<()> {
        self.fits(&self.manifest.identity.filtered(|name| wanted.get(name).is_some()), wanted)
    }

    /// An error that names where what was `found` in this file differs from `wanted`.
    pub fn fits(&self, found: &Facts, wanted: &Facts) -> Result<()> {
        match found.differences(wanted) {
            differences if differences.is_empty() => Ok(()),
            differences => Err(Error::missing(format!(
                "checkpoint {} does not fit this configuration:\n  {}",
                self.path.display(),
                differences.join("\n  ")
            ))
            .hint("use the settings that it was trained with, or train it again with these")),
        }
    }
}
