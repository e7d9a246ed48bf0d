//! Errors about a set that is not complete.

use std::path::Path;

use crate::data::listing::ImageFile;
use crate::error::Error;

/// The address of the archive.
pub const URL: &str = "https://cs231n.stanford.edu/tiny-imagenet-200.zip";

/// The error of two files that seem to be one image.
pub(super) fn twice(root: &Path, one: &ImageFile, other: &ImageFile) -> Error {
    Error::missing(format!(
        "Tiny ImageNet in {} has an image in two places: {} and {}",
        root.display(),
        one.path,
        other.path
    ))
    .hint(format!("remove the one that does not belong there, or {}", again()))
}

/// The error of a set that lacks something.
pub(super) fn incomplete(root: &Path, reason: &str) -> Error {
    Error::missing(format!("Tiny ImageNet in {} is not complete: {reason}", root.display())).hint(again())
}

/// The end of hints: the archive to unpack once more.
pub(super) fn again() -> String {
    format!("unpack the archive again; it comes from {URL}")
}
