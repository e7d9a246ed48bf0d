//! A user's own images: `train/<class>/*` and `test/<class>/*`, JPEG or PNG.
//!
//! The classes are the folders of `train`, sorted. `test` may lack some of them, but may have no others.

use std::path::Path;

use super::listing::{self, ImageListing};
use crate::error::{Error, Result, did_you_mean};

const HINT: &str = "wanted train/<class>/* and test/<class>/* with JPEG or PNG files";

/// Lists the tree in `data_dir`.
///
/// # Errors
/// `Missing` if the tree has another structure.
pub fn list(data_dir: &Path) -> Result<ImageListing> {
    let place = data_dir.display();
    for part in ["train", "test"] {
        if !data_dir.join(part).is_dir() {
            return Err(Error::missing(format!("there is no folder {part} in {place}"))
                .hint(format!("set data.data_dir to the folder of your images; {HINT}")));
        }
    }
    let class_names = listing::folders(&data_dir.join("train"))?;
    if class_names.is_empty() {
        return Err(Error::missing(format!("train in {place} has no class folders")).hint(HINT));
    }
    let positions = listing::positions(&class_names);
    let mut tested = Vec::new();
    for class in listing::folders(&data_dir.join("test"))? {
        let Some(&label) = positions.get(class.as_str()) else {
            return Err(Error::missing(format!("test in {place} has the class `{class}`, which train does not have"))
                .hint(did_you_mean(&class, class_names.iter().map(String::as_str))));
        };
        tested.push((class, label));
    }
    if tested.is_empty() {
        return Err(Error::missing(format!("test in {place} has no class folders")).hint(HINT));
    }
    Ok(ImageListing {
        root: data_dir.to_path_buf(),
        train: listing::classes_in(data_dir, "train", &listing::numbered(&class_names), "")?,
        test: listing::classes_in(data_dir, "test", &tested, "")?,
        class_names,
    })
}
