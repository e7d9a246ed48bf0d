//! Reads a checkpoint of any kind. The first bytes of the file tell the kind; its extension is ignored.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use super::errors::unreadable;
use super::file::CheckpointFile;
use super::loaded::Checkpoint;
use super::{native, pytorch};
use crate::error::Result;

/// Reads a model file of any kind and checks that it is intact. Its weights are still to be chosen.
///
/// # Errors
/// Of kind `Missing`: the file is missing, damaged or of another kind, has no weights, or its pickle calls something
/// that would act on the machine.
pub fn open(path: &Path) -> Result<CheckpointFile> {
    let mut start = Vec::new();
    File::open(path)
        .and_then(|file| file.take(pytorch::START).read_to_end(&mut start))
        .map_err(|error| unreadable(path, &error))?;
    match pytorch::CheckpointContainer::of(&start) {
        Some(container) => pytorch::load(path, container),
        None => native::open(path),
    }
}

/// Reads a checkpoint of any kind whose weights are clear without an architecture. It does not check that the model
/// fits the configuration: [`Checkpoint::check_identity`] does.
///
/// # Errors
/// The errors of [`open`] and of [`CheckpointFile::only`].
pub fn load(path: &Path) -> Result<Checkpoint> {
    open(path)?.only(None)
}
