//! Tiny ImageNet (Stanford CS231n, 2015): 64x64 images of 200 classes, 500 of each for training and 50 for validation.
//!
//!     train/<wnid>/images/*.JPEG
//!     val/images/*.JPEG, val/val_annotations.txt    used as the test set: the published test part has no labels
//!
//! The class of an image is the position of its wnid (WordNet id) among the sorted training folders. Training images
//! are ordered by class, test images by file name.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use super::listing::{self, ImageFile, ImageListing};
use crate::error::{Error, Result};

pub const FOLDER: &str = "tiny-imagenet-200";
const ANNOTATIONS: &str = "val/val_annotations.txt";
pub const URL: &str = "https://cs231n.stanford.edu/tiny-imagenet-200.zip";

/// Lists the set in `data_dir`, or in the folder [`FOLDER`] below it.
///
/// # Errors
/// `Missing` if a part of the set is absent, or if images and annotations do not match.
pub fn list(data_dir: &Path) -> Result<ImageListing> {
    let root = find(data_dir)?;
    let class_names = listing::folders(&root.join("train"))?;
    if class_names.is_empty() {
        return Err(incomplete(&root, "train has no class folders"));
    }
    let train = listing::classes_in(&root, "train", &listing::numbered(&class_names), "images")?;
    let test = annotated(&root, &class_names)?;
    Ok(ImageListing { root, class_names, train, test })
}

fn find(data_dir: &Path) -> Result<PathBuf> {
    let places = [data_dir.to_path_buf(), data_dir.join(FOLDER)];
    let Some(root) = places.iter().find(|root| root.join("train").is_dir()) else {
        let place = data_dir.display();
        return Err(Error::missing(format!("Tiny ImageNet is not in {place}: there is no folder train"))
            .hint(format!("set data.data_dir to the folder {FOLDER}, or fetch {URL} and unpack it")));
    };
    for part in ["val/images", ANNOTATIONS] {
        if !root.join(part).exists() {
            return Err(incomplete(root, &format!("{part} is missing; it belongs to the test set")));
        }
    }
    Ok(root.clone())
}

/// Lists `val/images` with the classes from the annotations. Each line has a file name, a wnid and a box.
fn annotated(root: &Path, class_names: &[String]) -> Result<Vec<ImageFile>> {
    let path = root.join(ANNOTATIONS);
    let text = fs::read_to_string(&path)
        .map_err(|error| Error::missing(format!("cannot read {}: {error}", path.display())).hint(again()))?;
    let classes = listing::positions(class_names);
    let mut labels = HashMap::new();
    for (i, line) in text.lines().enumerate() {
        let mut columns = line.split('\t');
        let (Some(file), Some(wnid)) = (columns.next(), columns.next()) else {
            return Err(wrong(&path, i, "wanted a file name, a tab and a wnid"));
        };
        let Some(&label) = classes.get(wnid) else {
            return Err(wrong(&path, i, &format!("`{wnid}` is no class of the training part")));
        };
        labels.insert(file, label);
    }
    let mut test = listing::files(root, "val/images", 0)?;
    for entry in &mut test {
        let name = entry.path.rsplit('/').next().unwrap_or_default();
        match labels.remove(name) {
            Some(label) => entry.label = label,
            None => return Err(incomplete(root, &format!("{ANNOTATIONS} gives no class for {}", entry.path))),
        }
    }
    if let Some(absent) = labels.keys().min() {
        let reason = format!("{} file(s) of {ANNOTATIONS} are not in val/images, {absent} among them", labels.len());
        return Err(incomplete(root, &reason));
    }
    if test.is_empty() {
        return Err(incomplete(root, "val/images is empty"));
    }
    Ok(test)
}

fn wrong(path: &Path, line: usize, reason: &str) -> Error {
    Error::missing(format!("{}:{}: {reason}", path.display(), line + 1)).hint(again())
}

fn incomplete(root: &Path, reason: &str) -> Error {
    Error::missing(format!("Tiny ImageNet in {} is not complete: {reason}", root.display())).hint(again())
}

fn again() -> String {
    format!("unpack the archive again; it comes from {URL}")
}
