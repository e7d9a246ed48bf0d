//! Reads a file of PyTorch in any of its formats.

use std::path::Path;

use super::container::CheckpointContainer;
use super::{archive, legacy};
use crate::checkpoint::bytes::fingerprint;
use crate::checkpoint::loaded::Checkpoint;
use crate::error::{Error, Result};

/// Reads a file of the format `container`. The tensors are in the order of their names.
///
/// # Errors
/// The errors of [`crate::checkpoint::load`].
pub fn load(path: &Path, container: CheckpointContainer) -> Result<Checkpoint> {
    let (manifest, mut tensors) = match container {
        CheckpointContainer::Zip => archive::read(path),
        CheckpointContainer::Legacy => legacy::read(path),
        CheckpointContainer::Tar => Err(Error::missing("a tar of PyTorch 0.1, which cannot be read")
            .hint("load it with PyTorch and save it again with torch.save")),
    }
    .map_err(|error| error.context(format!("checkpoint {}", path.display())))?;
    tensors.sort_by(|a, b| a.0.cmp(&b.0));
    let checksum = fingerprint(tensors.iter().map(|(name, tensor)| (name.as_str(), tensor)))?;
    Ok(Checkpoint { manifest, tensors, checksum, path: path.to_owned() })
}
