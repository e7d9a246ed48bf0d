//! A user's own images: `train/<class>/**` and `test/<class>/**`, read as torchvision's `ImageFolder` reads them.
//!
//! The classes are the folders of `train`, sorted. `test` may lack some of them, but may have no others. Where it is
//! missing or has no class folders, a validation part stands in for it.

use std::path::Path;

use super::listing::{self, Files, ImageListing};
use crate::error::{Error, Result, did_you_mean};
use crate::folders::{folders, names};

/// The folder of training images.
const TRAIN: &str = "train";
/// Folders of test images; the first that has class folders counts.
const TEST: [&str; 4] = ["test", "val", "valid", "validation"];
const HINT: &str = "wanted train/<class>/* and test/<class>/* with image files";

/// Lists the tree in `data_dir`.
///
/// # Errors
/// `Missing` if there are no training images in such a tree. Without test images there is a listing that says why.
pub fn list(data_dir: &Path) -> Result<ImageListing> {
    let place = data_dir.display();
    if !data_dir.join(TRAIN).is_dir() {
        return Err(Error::missing(format!("there is no folder {TRAIN} in {place}{}", content_of(data_dir)))
            .hint(format!("set data.data_dir to the folder of your images; {HINT}")));
    }
    let class_names = folders(&data_dir.join(TRAIN))?;
    if class_names.is_empty() {
        return Err(Error::missing(format!("{TRAIN} in {place} has no class folders")).hint(HINT));
    }
    let train = listing::classes_in(data_dir, TRAIN, &listing::numbered(&class_names))?;
    let mut passed_over = beside_classes(data_dir, TRAIN)?;
    passed_over.extend(train.passed_over);
    let (test, no_test) = match test_part(data_dir, &class_names) {
        Ok(test) => {
            passed_over.extend(test.passed_over);
            (test.images, None)
        }
        Err(error) => (Vec::new(), Some(error)),
    };
    listing::log_passed_over(data_dir, &passed_over);
    Ok(ImageListing { root: data_dir.to_path_buf(), class_names, train: train.images, test, no_test })
}

/// Lists the test images.
fn test_part(data_dir: &Path, class_names: &[String]) -> Result<Files> {
    let place = data_dir.display();
    let [test, ..] = TEST;
    let lacks = if data_dir.join(test).is_dir() { "has no class folders in its" } else { "has no" };
    let mut parts = TEST.iter().filter(|part| folders(&data_dir.join(part)).is_ok_and(|classes| !classes.is_empty()));
    let Some(part) = parts.next() else {
        return Err(Error::missing(format!("{place} {lacks} folder {test}{}", content_of(data_dir))).hint(HINT));
    };
    let positions = listing::positions(class_names);
    let mut classes = Vec::new();
    for class in folders(&data_dir.join(part))? {
        let Some(&label) = positions.get(class.as_str()) else {
            return Err(Error::missing(format!(
                "{part} in {place} has the class `{class}`, which train does not have"
            ))
            .hint(did_you_mean(&class, class_names.iter().map(String::as_str))));
        };
        classes.push((class, label));
    }
    let files = listing::classes_in(data_dir, part, &classes)?;
    if *part != test {
        tracing::info!("{place} {lacks} folder {test}: the images in its folder {part} are the test set");
    }
    let mut passed_over = beside_classes(data_dir, part)?;
    passed_over.extend(files.passed_over);
    Ok(Files { images: files.images, passed_over })
}

/// Paths of the files that lie beside the class folders of a part.
fn beside_classes(data_dir: &Path, part: &str) -> Result<Vec<String>> {
    let folder = data_dir.join(part);
    let files = names(&folder)?.into_iter().filter(|name| !folder.join(name).is_dir());
    Ok(files.map(|name| format!("{part}/{name}")).collect())
}

/// The content of a folder, for the end of a message; empty if there is nothing.
fn content_of(folder: &Path) -> String {
    const NAMED: usize = 5;
    match names(folder) {
        Ok(names) if !names.is_empty() => {
            let more = if names.len() > NAMED { ", ..." } else { "" };
            format!(" (it has {}{more})", names[..names.len().min(NAMED)].join(", "))
        }
        _ => String::new(),
    }
}
