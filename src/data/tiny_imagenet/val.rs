//! The validation images, in the layout of the archive or in one of those that scripts make of it.
//!
//! | layout | class |
//! | --- | --- |
//! | `val/images/*` | from the annotations |
//! | `val/<wnid>/*`, `val/<wnid>/images/*`, `val/images/<wnid>/*` | from the folder |
//!
//! A script that was stopped leaves a mixture, and one that copies leaves two files of an image: both are read if no
//! image gets two classes.

use std::collections::HashMap;
use std::path::Path;

use super::annotations::{self, Annotations};
use super::faults::{incomplete, twice};
use crate::data::listing::{self, ImageFile};
use crate::error::{Error, Result};

/// Lists the validation images, by file name. An image that is there twice is listed once.
///
/// # Errors
/// `Missing` if there are no images, or if an image has no class or two.
pub(super) fn list(root: &Path, class_names: &[String]) -> Result<Vec<ImageFile>> {
    if !root.join("val").is_dir() {
        return Err(incomplete(root, "val is missing; it is the test set"));
    }
    let classes = listing::positions(class_names);
    let files = listing::files(root, "val", 0)?;
    let passed_over: Vec<String> =
        files.passed_over.into_iter().filter(|path| !annotations::is_annotations(last(path))).collect();
    listing::log_passed_over(root, &passed_over);
    if files.images.is_empty() {
        return Err(incomplete(root, "val has no images; it is the test set"));
    }
    let annotations = annotations::read(root, &classes)?;
    let mut images = files.images;
    for image in &mut images {
        image.label = label(root, image, &classes, &annotations)?;
    }
    images.sort_by(|a, b| (last(&a.path), a.label, &a.path).cmp(&(last(&b.path), b.label, &b.path)));
    check_complete(root, &images, &annotations)?;
    without_copies(root, images)
}

/// The class of an image, from the folders above it and from the annotations.
fn label(root: &Path, image: &ImageFile, classes: &HashMap<&str, i64>, annotations: &Annotations) -> Result<i64> {
    let (folders, name) = image.folder_and_name();
    let mut of_folders: Vec<(&str, i64)> =
        folders.split('/').filter_map(|folder| classes.get(folder).map(|&label| (folder, label))).collect();
    of_folders.dedup();
    let annotated = annotations.labels.get(name).copied();
    match (&of_folders[..], annotated) {
        ([(_, label)], None) => Ok(*label),
        ([(_, label)], Some(other)) if *label == other => Ok(*label),
        ([(folder, _)], Some(_)) => Err(incomplete(
            root,
            &format!("{} lies in the folder of {folder}, but {} gives another class", image.path, annotations.path),
        )),
        ([], Some(label)) => Ok(label),
        ([], None) if annotations.labels.is_empty() => Err(no_class(
            root,
            &format!("{} is missing, and {} lies in no folder of a class", annotations.path, image.path),
        )),
        ([], None) => Err(no_class(root, &format!("{} gives no class for {}", annotations.path, image.path))),
        ([first, second, ..], _) => Err(incomplete(
            root,
            &format!("{} lies in the folders of two classes, {} and {}", image.path, first.0, second.0),
        )),
    }
}

fn no_class(root: &Path, reason: &str) -> Error {
    incomplete(root, reason).hint(
        "unpack the archive again, or sort the images into val/<wnid>/: a class has the name that its folder in train \
         has",
    )
}

/// Fails if annotated images are absent. Annotations of a set whose images were all renamed when they were sorted into
/// folders say nothing.
fn check_complete(root: &Path, images: &[ImageFile], annotations: &Annotations) -> Result<()> {
    let mut absent: HashMap<&str, i64> =
        annotations.labels.iter().map(|(name, &label)| (name.as_str(), label)).collect();
    for image in images {
        absent.remove(last(&image.path));
    }
    match absent.keys().min() {
        Some(name) if absent.len() < annotations.labels.len() => Err(incomplete(
            root,
            &format!("{} file(s) of {} are not in val, {name} among them", absent.len(), annotations.path),
        )),
        _ => Ok(()),
    }
}

/// Drops the second of two files with one name and class. `images` are sorted by both.
fn without_copies(root: &Path, images: Vec<ImageFile>) -> Result<Vec<ImageFile>> {
    let mut kept: Vec<ImageFile> = Vec::with_capacity(images.len());
    for image in images {
        match kept.last() {
            Some(other) if (last(&other.path), other.label) == (last(&image.path), image.label) => {
                if other.bytes != image.bytes {
                    return Err(twice(root, other, &image));
                }
            }
            _ => kept.push(image),
        }
    }
    Ok(kept)
}

/// The name of a file, without its folders.
fn last(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}
