//! Shape of a CIFAR image, and the checks that both layouts share.

use std::fs;
use std::path::Path;

use super::format::{CifarFormat, CifarLayout};
use crate::error::{Error, Result};

pub(super) const CHANNELS: usize = 3;
pub(super) const SIDE: usize = 32;
/// Bytes of one image: 1024 red, 1024 green, 1024 blue, row by row.
pub(super) const IMAGE: usize = CHANNELS * SIDE * SIDE;

/// Checks that `label` is one of the classes. `image` is the image's number within its file. The error is a reason, for
/// [`unusable`].
pub(super) fn check_label(label: i128, image: usize, format: &CifarFormat) -> Result<(), String> {
    let classes = format.class_names.len() as i128;
    if !(0..classes).contains(&label) {
        return Err(format!("image {image} has label {label}, wanted 0 to {}", classes - 1));
    }
    Ok(())
}

/// Bytes of a file. `wanted` is the expected size, for the message.
pub(super) fn size(path: &Path, layout: &CifarLayout, wanted: &str) -> Result<u64> {
    match fs::metadata(path) {
        Ok(metadata) if metadata.is_file() => Ok(metadata.len()),
        Ok(_) => Err(unusable(path, layout, format!("it is not a file, wanted one of {wanted}"))),
        Err(error) => Err(unusable(path, layout, format!("{error}, wanted {wanted}"))),
    }
}

/// The error about a file that cannot be used. `reason` follows the name of the file.
pub(super) fn unusable(path: &Path, layout: &CifarLayout, reason: String) -> Error {
    Error::missing(format!("cannot use {}: {reason}", path.display()))
        .hint(format!("unpack {} again; it comes from {}", layout.archive, layout.url))
}
