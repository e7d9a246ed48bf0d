//! Errors of checkpoint files. All are of kind `Missing`.

use std::io;
use std::path::Path;

use crate::error::Error;

/// The file cannot be opened or read.
pub(super) fn unreadable(path: &Path, source: &io::Error) -> Error {
    Error::missing(match source.kind() {
        io::ErrorKind::NotFound => format!("checkpoint {} does not exist", path.display()),
        _ => format!("checkpoint {} cannot be read: {source}", path.display()),
    })
}

/// The content is not that of a checkpoint of PyTorch.
pub(super) fn damaged(message: impl Into<String>) -> Error {
    Error::missing(message).hint("the file is damaged, or not what its name says: restore it from a copy")
}

/// A name from a file, shortened and with control characters escaped, so that it cannot disturb the terminal.
pub(super) fn printable(name: &str) -> String {
    name.chars().take(80).flat_map(char::escape_debug).collect()
}
