//! Lists the image files of a data set that is a tree of folders, in order and with their classes.
//!
//! Names are sorted by their bytes, which is Python's order of text: classes and images come in the order of
//! torchvision's `ImageFolder`. Splits refer to positions, so this order is part of a data set's identity. Names that
//! begin with a dot are ignored.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use rayon::prelude::*;
use sha2::{Digest, Sha256};

use crate::digest::hex;
use crate::error::{Error, Result};

/// The image files of a data set, not yet read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageListing {
    pub root: PathBuf,
    /// The name of class `i` at position `i`.
    pub class_names: Vec<String>,
    pub train: Vec<ImageFile>,
    pub test: Vec<ImageFile>,
}

/// One image file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageFile {
    /// Path below the root, with `/` between its components.
    pub path: String,
    /// Class, counted from 0.
    pub label: i64,
    /// Size of the file.
    bytes: u64,
    /// Time of the last change, in nanoseconds since 1970.
    modified: u128,
}

impl ImageListing {
    /// SHA-256 (hex) over names, classes, sizes and times of change. A file that was touched changes the key.
    pub fn key(&self) -> String {
        let mut hasher = Sha256::new();
        for part in [&self.train, &self.test] {
            hasher.update((part.len() as u64).to_le_bytes());
            for ImageFile { path, label, bytes, modified } in part {
                hasher.update(format!("{path}\0{label}\0{bytes}\0{modified}\0"));
            }
        }
        self.class_names.iter().for_each(|name| hasher.update(format!("{name}\0")));
        hex(&hasher.finalize())
    }
}

/// Lists the files `folder/<class>/<below>/*` under `root` for each of `classes` (name and label). `below` may be
/// empty.
///
/// # Errors
/// `Missing` if a class has no image or a folder cannot be read.
pub fn classes_in(root: &Path, folder: &str, classes: &[(String, i64)], below: &str) -> Result<Vec<ImageFile>> {
    let of_class = |(class, label): &(String, i64)| {
        let folder = if below.is_empty() { format!("{folder}/{class}") } else { format!("{folder}/{class}/{below}") };
        let files = files(root, &folder, *label)?;
        match files.is_empty() {
            true => Err(Error::missing(format!(
                "the class `{class}` has no images: {folder} in {} is empty",
                root.display()
            ))
            .hint("remove the folder of the class, or put its images there")),
            false => Ok(files),
        }
    };
    let lists: Vec<Vec<ImageFile>> = classes.par_iter().map(of_class).collect::<Result<_>>()?;
    Ok(lists.concat())
}

/// Lists the files of a folder below `root`, sorted. All get the same label.
pub fn files(root: &Path, folder: &str, label: i64) -> Result<Vec<ImageFile>> {
    let mut entries = Vec::new();
    for name in names(&root.join(folder))? {
        let path = format!("{folder}/{name}");
        let fail = |error: &io::Error| unreadable(&root.join(&path), error);
        let metadata = fs::metadata(root.join(&path)).map_err(|error| fail(&error))?;
        if !metadata.is_file() {
            return Err(Error::missing(format!("{} is a folder, wanted an image", root.join(&path).display()))
                .hint("the images of a class lie side by side in one folder"));
        }
        let modified = metadata.modified().map_err(|error| fail(&error))?;
        let modified = modified.duration_since(UNIX_EPOCH).map_or(0, |time| time.as_nanos());
        entries.push(ImageFile { path, label, bytes: metadata.len(), modified });
    }
    Ok(entries)
}

/// Names of the folders in a folder, sorted.
pub fn folders(path: &Path) -> Result<Vec<String>> {
    Ok(names(path)?.into_iter().filter(|name| path.join(name).is_dir()).collect())
}

/// Names in a folder, sorted.
fn names(folder: &Path) -> Result<Vec<String>> {
    let fail = |error: io::Error| unreadable(folder, &error);
    let mut names = Vec::new();
    for entry in fs::read_dir(folder).map_err(fail)? {
        let name = entry.map_err(fail)?.file_name().into_string().map_err(|name| {
            Error::missing(format!("{} has a name that is not UTF-8: {}", folder.display(), name.display()))
                .hint("rename the file")
        })?;
        if !name.starts_with('.') {
            names.push(name);
        }
    }
    names.sort_unstable();
    Ok(names)
}

/// Pairs each class with its position, which is its label.
pub fn numbered(names: &[String]) -> Vec<(String, i64)> {
    names.iter().cloned().zip(0..).collect()
}

/// Maps the name of each class to its position, which is its label.
pub fn positions(names: &[String]) -> HashMap<&str, i64> {
    names.iter().map(String::as_str).zip(0..).collect()
}

fn unreadable(path: &Path, error: &io::Error) -> Error {
    Error::missing(format!("cannot read {}: {error}", path.display()))
        .hint("unpack or copy the data set again, or check its permissions")
}
