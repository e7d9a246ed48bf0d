//! Counts the classes of a folder of images, where `data.num_classes` is not set.

use std::path::Path;

use super::schema::DatasetName;
use crate::error::{Error, Result};
use crate::folders::folders;
use crate::home;
use crate::hydra::{Composed, Value};

const KEY: &str = "data.num_classes";

/// Sets `data.num_classes` of an image folder to the number of class folders, if it is null or `???`.
///
/// # Errors
/// `Missing` if there is no folder to count.
pub(super) fn count_classes(composed: &mut Composed) -> Result<()> {
    let text = |composed: &Composed, key: &str| -> Result<Option<String>> {
        Ok(composed.value(key)?.and_then(|node| node.as_str().map(str::to_owned)))
    };
    if !composed.is_unset(KEY) || text(composed, "data.name")?.as_deref() != Some(DatasetName::ImageFolder.name()) {
        return Ok(());
    }
    // A folder that is not text is reported when the section is read.
    let Some(folder) = text(composed, "data.data_dir")? else { return Ok(()) };
    let train = home::expand(Path::new(&folder)).join("train");
    if !train.is_dir() {
        return Err(Error::missing(format!(
            "{KEY} is not set, and there is no folder train in {folder} whose class folders could be counted"
        ))
        .hint("set data.data_dir to the folder of your images: train/<class>/* and test/<class>/*"));
    }
    composed.set(KEY, Value::Int(folders(&train)?.len() as i64));
    Ok(())
}
