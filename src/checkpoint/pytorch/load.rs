//! Reads a file of PyTorch in any of its formats.

use std::path::Path;

use super::container::CheckpointContainer;
use super::{archive, legacy};
use crate::checkpoint::file::CheckpointFile;
use crate::error::{Error, Result};

/// Reads a file of the format `container`.
///
/// # Errors
/// The errors of [`crate::checkpoint::open`].
pub fn load(path: &Path, container: CheckpointContainer) -> Result<CheckpointFile> {
    let (manifest, dicts) = match container {
        CheckpointContainer::Zip => archive::read(path),
        CheckpointContainer::Legacy => legacy::read(path),
        CheckpointContainer::Tar => Err(Error::missing("a tar of PyTorch 0.1, which cannot be read")
            .hint("load it with PyTorch and save it again with torch.save")),
    }
    .map_err(|error| error.context(format!("checkpoint {}", path.display())))?;
    Ok(CheckpointFile { path: path.to_owned(), manifest, dicts, checksum: None })
}
