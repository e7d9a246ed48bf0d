//! Reads a checkpoint of any kind. The first bytes of the file tell the kind; its extension is ignored.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use super::errors::unreadable;
use super::loaded::Checkpoint;
use super::{native, pytorch};
use crate::error::Result;

/// Reads a checkpoint of any kind and checks that the file is intact. It does not check that the model fits the
/// configuration: [`Checkpoint::check_identity`] does.
///
/// # Errors
/// Of kind `Missing`: the file is missing, damaged or of another kind, or its pickle calls something that is not known
/// to make plain data.
pub fn load(path: &Path) -> Result<Checkpoint> {
    let mut start = Vec::new();
    File::open(path)
        .and_then(|file| file.take(pytorch::START).read_to_end(&mut start))
        .map_err(|error| unreadable(path, &error))?;
    match pytorch::CheckpointContainer::of(&start) {
        Some(container) => pytorch::load(path, container),
        None => native::load(path),
    }
}
