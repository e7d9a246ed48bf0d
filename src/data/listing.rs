//! Lists the image files of a data set that is a tree of folders, in order and with their classes.
//!
//! Names are sorted by their bytes, which is Python's order of text: classes and images come in the order of
//! torchvision's `ImageFolder`. Splits refer to positions, so this order is part of a data set's identity. Names that
//! begin with a dot are ignored, and files that are no images are passed over and counted.

use std::collections::HashMap;
use std::fs::{self, Metadata};
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use rayon::prelude::*;
use sha2::{Digest, Sha256};

use super::image_names::is_image;
use crate::digest::hex;
use crate::error::{Error, Result};
use crate::folders::{names, unreadable};

/// The image files of a data set, not yet read.
#[derive(Debug, Clone)]
pub struct ImageListing {
    pub root: PathBuf,
    /// The name of class `i` at position `i`.
    pub class_names: Vec<String>,
    pub train: Vec<ImageFile>,
    pub test: Vec<ImageFile>,
    /// The reason why there are no test images; `None` if there are.
    pub no_test: Option<Error>,
}

/// One image file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageFile {
    /// Path below the root, with `/` between its components.
    pub path: String,
    /// Class, counted from 0.
    pub label: i64,
    /// Size of the file.
    pub(super) bytes: u64,
    /// Time of the last change, in nanoseconds since 1970.
    modified: u128,
}

impl ImageFile {
    fn new(path: String, label: i64, metadata: &Metadata) -> Self {
        let modified = metadata.modified().ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok());
        ImageFile { path, label, bytes: metadata.len(), modified: modified.map_or(0, |time| time.as_nanos()) }
    }

    /// The folder of the file, a path below the root, and the name of the file.
    pub(super) fn folder_and_name(&self) -> (&str, &str) {
        self.path.rsplit_once('/').unwrap_or(("", &self.path))
    }
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

/// The files below a folder.
#[derive(Debug, Default)]
pub struct Files {
    /// Images, in the order of torchvision's `ImageFolder`: by folder, then by name.
    pub images: Vec<ImageFile>,
    /// Paths below the root of files that are no images.
    pub passed_over: Vec<String>,
}

/// Lists the files below `folder/<class>` under `root` for each of `classes` (name and label).
///
/// # Errors
/// `Missing` if a class has no image or a folder cannot be read.
pub fn classes_in(root: &Path, folder: &str, classes: &[(String, i64)]) -> Result<Files> {
    let of_class = |(class, label): &(String, i64)| {
        let files = files(root, &format!("{folder}/{class}"), *label)?;
        match files.images.is_empty() {
            true => Err(without_images(root, folder, class, &files.passed_over)),
            false => Ok(files),
        }
    };
    let lists: Vec<Files> = classes.par_iter().map(of_class).collect::<Result<_>>()?;
    let mut all = Files::default();
    for list in lists {
        all.images.extend(list.images);
        all.passed_over.extend(list.passed_over);
    }
    Ok(all)
}

fn without_images(root: &Path, folder: &str, class: &str, passed_over: &[String]) -> Error {
    let found = match passed_over {
        [] => "is empty".into(),
        [first, ..] => format!("has {} file(s) that are no images, {first} among them", passed_over.len()),
    };
    Error::missing(format!("the class `{class}` has no images: {folder}/{class} in {} {found}", root.display()))
        .hint("remove the folder of the class, or put its images there")
}

/// Lists the files of a folder below `root`, and of the folders in it. All images get the same label.
///
/// # Errors
/// `Missing` if a folder or an image cannot be read, or a link leads to a folder above itself.
pub fn files(root: &Path, folder: &str, label: i64) -> Result<Files> {
    let mut found = Files::default();
    visit(root, folder, label, &mut Vec::new(), &mut found)?;
    found.images.sort_by(|a, b| a.folder_and_name().cmp(&b.folder_and_name()));
    Ok(found)
}

/// Adds the files of `folder` and of the folders in it to `found`. `above`: the folders that lead here.
fn visit(root: &Path, folder: &str, label: i64, above: &mut Vec<PathBuf>, found: &mut Files) -> Result<()> {
    let here = root.join(folder);
    let real = here.canonicalize().map_err(|error| unreadable(&here, &error))?;
    if above.contains(&real) {
        return Err(
            Error::missing(format!("{} is a link to a folder above itself", here.display())).hint("remove the link")
        );
    }
    above.push(real);
    for name in names(&here)? {
        let below = format!("{folder}/{name}");
        let path = root.join(&below);
        match fs::metadata(&path) {
            Ok(metadata) if metadata.is_dir() => visit(root, &below, label, above, found)?,
            Ok(metadata) if metadata.is_file() && is_image(&path) => {
                found.images.push(ImageFile::new(below, label, &metadata));
            }
            Err(error) if is_image(&path) => return Err(unreadable(&path, &error)),
            Ok(_) | Err(_) => found.passed_over.push(below),
        }
    }
    above.pop();
    Ok(())
}

/// Logs in one line how many files of `root` were passed over.
pub fn log_passed_over(root: &Path, passed_over: &[String]) {
    const NAMED: usize = 3;
    if !passed_over.is_empty() {
        let more = passed_over.len().saturating_sub(NAMED);
        let named = passed_over[..passed_over.len() - more].join(", ");
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        tracing::info!(
            "passed over {} file(s) in {} that are no images by their names: {named}{more}",
            passed_over.len(),
            root.display()
        );
    }
}

/// Pairs each class with its position, which is its label.
pub fn numbered(names: &[String]) -> Vec<(String, i64)> {
    names.iter().cloned().zip(0..).collect()
}

/// Maps the name of each class to its position, which is its label.
pub fn positions(names: &[String]) -> HashMap<&str, i64> {
    names.iter().map(String::as_str).zip(0..).collect()
}
