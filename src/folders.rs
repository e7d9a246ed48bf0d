//! The names in a folder, sorted. Names that begin with a dot are not seen, nor are folders that systems put among a
//! user's own.

use std::fs;
use std::io;
use std::path::Path;

use crate::error::{Error, Result};

/// Folders that a system makes beside a user's files: an index of thumbnails, a bin, the other half of a Mac's zip.
const OF_SYSTEMS: [&str; 5] = ["@eaDir", "__MACOSX", "$RECYCLE.BIN", "System Volume Information", "lost+found"];

/// Names in a folder, sorted by their bytes, which is Python's order of text.
///
/// # Errors
/// `Missing` if the folder cannot be read, or has a name that is not UTF-8.
pub fn names(folder: &Path) -> Result<Vec<String>> {
    let fail = |error: io::Error| unreadable(folder, &error);
    let mut names = Vec::new();
    for entry in fs::read_dir(folder).map_err(fail)? {
        let name = entry.map_err(fail)?.file_name().into_string().map_err(|name| {
            Error::missing(format!("{} has a name that is not UTF-8: {}", folder.display(), name.display()))
                .hint("rename the file")
        })?;
        if !name.starts_with('.') && !OF_SYSTEMS.contains(&name.as_str()) {
            names.push(name);
        }
    }
    names.sort_unstable();
    Ok(names)
}

/// Names of the folders in a folder, sorted.
///
/// # Errors
/// The errors of [`names`].
pub fn folders(folder: &Path) -> Result<Vec<String>> {
    Ok(names(folder)?.into_iter().filter(|name| folder.join(name).is_dir()).collect())
}

/// The error of a file or folder of a data set that cannot be read.
pub fn unreadable(path: &Path, error: &io::Error) -> Error {
    Error::missing(format!("cannot read {}: {error}", path.display()))
        .hint("unpack or copy the data set again, or check its permissions")
}
