//! Checkpoints of PyTorch, torchvision and Lightning: `.pt`, `.pth`, `.ckpt`.
//!
//! | module | holds |
//! | --- | --- |
//! | [`archive`] | the container since PyTorch 1.6: a zip of one pickle and one record for each storage |
//! | [`legacy`] | the container before that: pickles, then storages, one behind the other |
//! | [`objects`] | what the names in such pickles stand for: tensors, omegaconf's nodes |
//! | [`tensors`] | storages and the views into them |
//! | [`document`] | where the weights lie |
//! | [`hyper_parameters`] | the configuration that a Lightning file came from |
//! | [`write`] | the zip container, written |
//!
//! Nothing in such a file is executed (see [`crate::pickle`]), and no size that it claims is believed: views are checked
//! against their storages, storages against the bytes that are there, records against the size of the file.

mod archive;
mod document;
mod hyper_parameters;
mod legacy;
mod objects;
mod tensors;
mod write;

use std::path::Path;

use tch::Tensor;

use super::{Checkpoint, Manifest, bytes, unreadable};
use crate::error::{Error, Result};

pub use write::{save_lightning, save_state_dict};

/// As many bytes as [`Container::of`] looks at.
pub const START: u64 = 512;

/// How the parts of a file lie in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Container {
    Zip,
    Legacy,
    /// PyTorch 0.1.
    Tar,
}

impl Container {
    /// By the first bytes of a file; none where PyTorch did not write it.
    pub fn of(start: &[u8]) -> Option<Self> {
        match start {
            // safetensors: eight bytes of a length, of which the last are zero, and JSON. The first may be anything.
            [_, _, _, _, _, 0, 0, 0, b'{', ..] => None,
            [b'P', b'K', 3, 4, ..] => Some(Container::Zip),
            [0x80, ..] => legacy::is_start(start).then_some(Container::Legacy),
            _ if start.get(257..262) == Some(b"ustar") => Some(Container::Tar),
            _ => None,
        }
    }
}

/// Reads a file that starts as `container` does.
///
/// # Errors
/// As [`super::load`].
pub fn load(path: &Path, container: Container) -> Result<Checkpoint> {
    let (manifest, mut tensors) = match container {
        Container::Zip => archive::read(path),
        Container::Legacy => {
            std::fs::read(path).map_err(|error| unreadable(path, &error)).and_then(|b| legacy::read(&b))
        }
        Container::Tar => Err(Error::missing("a tar of PyTorch 0.1, which cannot be read")
            .hint("load it with PyTorch and save it again with torch.save")),
    }
    .map_err(|error| error.context(format!("checkpoint {}", path.display())))?;
    tensors.sort_by(|a, b| a.0.cmp(&b.0));
    let checksum = bytes::fingerprint(tensors.iter().map(|(name, tensor)| (name.as_str(), tensor)))?;
    Ok(Checkpoint { manifest, tensors, checksum, path: path.to_owned() })
}

/// What a file holds: its manifest and its named weights.
type Contents = (Manifest, Vec<(String, Tensor)>);

/// What cannot be the checkpoint that it should be.
fn damaged(message: impl Into<String>) -> Error {
    Error::missing(message).hint("the file is damaged, or not what its name says: restore it from a copy")
}
