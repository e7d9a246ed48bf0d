//! A checkpoint in memory, and the check that it fits a configuration.

use std::path::PathBuf;

use tch::Tensor;

use super::facts::Facts;
use super::manifest::Manifest;
use crate::error::{Error, Result};

/// A checkpoint in memory.
pub struct Checkpoint {
    pub manifest: Manifest,
    /// Names and tensors. A checkpoint to be saved has them in the order of the architecture's layout, a loaded one in
    /// the order of their names.
    pub tensors: Vec<(String, Tensor)>,
    /// SHA-256 (hex) of names, dtypes, shapes and bytes of the tensors.
    pub checksum: String,
    /// The file that it was read from.
    pub path: PathBuf,
}

impl Checkpoint {
    /// True if another program made the model. Such a checkpoint has no identity.
    pub fn is_foreign(&self) -> bool {
        self.manifest.origin.is_some()
    }

    /// Checks that the identity has all facts of `wanted`.
    ///
    /// # Errors
    /// Of kind `Missing`; the message lists each fact that differs.
    pub fn check_identity(&self, wanted: &Facts) -> Result<()> {
        self.check_facts(&self.manifest.identity.filtered(|name| wanted.get(name).is_some()), wanted)
    }

    /// Checks that `found`, facts about this checkpoint, equals `wanted`.
    ///
    /// # Errors
    /// Of kind `Missing`; the message names the file and lists each fact that differs.
    pub fn check_facts(&self, found: &Facts, wanted: &Facts) -> Result<()> {
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
