//! The image files of a data set that is a tree of folders: which ones, in which order, of which class.
//!
//! Names sort by their bytes, which is Python's order of text: classes and images come as torchvision's `ImageFolder`
//! has them. Splits go by position, so this order is part of a data set's identity. Names that begin with a dot are
//! not seen.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use rayon::prelude::*;
use sha2::{Digest, Sha256};

use crate::digest::hex;
use crate::error::{Error, Result};

/// A data set, not yet read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listing {
    pub root: PathBuf,
    /// The name of class `i` at place `i`.
    pub class_names: Vec<String>,
    pub train: Vec<Entry>,
    pub test: Vec<Entry>,
}

/// One image file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Below the root, with `/` between the parts.
    pub path: String,
    pub label: i64,
    bytes: u64,
    /// Nanoseconds since 1970.
    modified: u128,
}

impl Listing {
    /// SHA-256 (hex) over names, classes, sizes and times of change: a file that was touched gives another key.
    pub fn key(&self) -> String {
        let mut hasher = Sha256::new();
        for part in [&self.train, &self.test] {
            hasher.update((part.len() as u64).to_le_bytes());
            for Entry { path, label, bytes, modified } in part {
                hasher.update(format!("{path}\0{label}\0{bytes}\0{modified}\0"));
            }
        }
        self.class_names.iter().for_each(|name| hasher.update(format!("{name}\0")));
        hex(&hasher.finalize())
    }
}

/// `folder/<class>/<below>/*` under `root` for each of `classes`, of which each gets its label and must have an image.
/// `below` may be empty.
pub fn classes_in(root: &Path, folder: &str, classes: &[(String, i64)], below: &str) -> Result<Vec<Entry>> {
    let of_class = |(class, label): &(String, i64)| {
        let folder = if below.is_empty() { format!("{folder}/{class}") } else { format!("{folder}/{class}/{below}") };
        let files = files(root, &folder, *label)?;
        match files.is_empty() {
            true => Err(Error::missing(format!(
                "the class `{class}` has no images: {folder} in {} is empty",
                root.display()
            ))
            .hint("take the class's folder away, or put its images there")),
            false => Ok(files),
        }
    };
    let lists: Vec<Vec<Entry>> = classes.par_iter().map(of_class).collect::<Result<_>>()?;
    Ok(lists.concat())
}

/// The files of a folder below `root`, sorted; all get the same label for now.
pub fn files(root: &Path, folder: &str, label: i64) -> Result<Vec<Entry>> {
    let mut entries = Vec::new();
    for name in names(&root.join(folder))? {
        let path = format!("{folder}/{name}");
        let fail = |error: &io::Error| unreadable(&root.join(&path), error);
        let facts = fs::metadata(root.join(&path)).map_err(|error| fail(&error))?;
        if !facts.is_file() {
            return Err(Error::missing(format!("{} is a folder, wanted an image", root.join(&path).display()))
                .hint("the images of a class lie side by side in one folder"));
        }
        let modified = facts.modified().map_err(|error| fail(&error))?;
        let modified = modified.duration_since(UNIX_EPOCH).map_or(0, |time| time.as_nanos());
        entries.push(Entry { path, label, bytes: facts.len(), modified });
    }
    Ok(entries)
}

/// The folders of a folder, sorted.
pub fn folders(path: &Path) -> Result<Vec<String>> {
    Ok(names(path)?.into_iter().filter(|name| path.join(name).is_dir()).collect())
}

/// The names in a folder, sorted.
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

/// Classes with their positions.
pub fn numbered(names: &[String]) -> Vec<(String, i64)> {
    names.iter().cloned().zip(0..).collect()
}

/// The position of each class by its name.
pub fn positions(names: &[String]) -> HashMap<&str, i64> {
    names.iter().map(String::as_str).zip(0..).collect()
}

fn unreadable(path: &Path, error: &io::Error) -> Error {
    Error::missing(format!("cannot read {}: {error}", path.display()))
        .hint("unpack or copy the data set again, or check who may read it")
}
