//! Tiny ImageNet (Stanford CS231n, 2015): 64x64 images of 200 classes, 500 of each for training and 50 for validation.
//!
//!     train/<wnid>/images/*.JPEG                    also without the folder images
//!     val/images/*.JPEG, val/val_annotations.txt    also val/<wnid>/*.JPEG and other trees, see [`val`]
//!
//! The validation part is used as the test set: the published test part has no labels. The class of an image is the
//! position of its wnid (WordNet id) among the sorted training folders. Training images are ordered by class, then by
//! file name; test images by file name. The folders between do not count, so each layout gives the same data set.

mod annotations;
mod faults;
mod val;

use std::path::{Path, PathBuf};

use faults::{incomplete, twice};

use super::listing::{self, ImageFile, ImageListing};
use crate::error::{Error, Result};
use crate::folders::folders;

pub const FOLDER: &str = "tiny-imagenet-200";
pub use faults::URL;

/// Lists the set in `data_dir`, or in the folder [`FOLDER`] below it.
///
/// # Errors
/// `Missing` if the training part is absent or not complete. Without a usable validation part there is a listing that
/// says why.
pub fn list(data_dir: &Path) -> Result<ImageListing> {
    let root = find(data_dir)?;
    let class_names = folders(&root.join("train"))?;
    if class_names.is_empty() {
        return Err(incomplete(&root, "train has no class folders"));
    }
    let train = training_images(&root, &class_names)?;
    let (test, no_test) = match val::list(&root, &class_names) {
        Ok(test) => (test, None),
        Err(error) => (Vec::new(), Some(error)),
    };
    Ok(ImageListing { root, class_names, train, test, no_test })
}

fn find(data_dir: &Path) -> Result<PathBuf> {
    let places = [data_dir.to_path_buf(), data_dir.join(FOLDER)];
    places.iter().find(|root| root.join("train").is_dir()).cloned().ok_or_else(|| {
        let place = data_dir.display();
        Error::missing(format!("Tiny ImageNet is not in {place}: there is no folder train"))
            .hint(format!("set data.data_dir to the folder {FOLDER}, or fetch {URL} and unpack it"))
    })
}

/// Lists the images below `train/<wnid>`.
fn training_images(root: &Path, class_names: &[String]) -> Result<Vec<ImageFile>> {
    let mut files = listing::classes_in(root, "train", &listing::numbered(class_names))?;
    // Each class comes with a list of boxes.
    files.passed_over.retain(|path| !path.ends_with("_boxes.txt"));
    listing::log_passed_over(root, &files.passed_over);
    let mut images = files.images;
    images.sort_by(|a, b| (a.label, a.folder_and_name().1).cmp(&(b.label, b.folder_and_name().1)));
    match images.windows(2).find(|pair| pair[0].folder_and_name().1 == pair[1].folder_and_name().1) {
        Some(pair) if pair[0].label == pair[1].label => Err(twice(root, &pair[0], &pair[1])),
        _ => Ok(images),
    }
}
