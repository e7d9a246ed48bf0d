//! The file with the class of each validation image: a line with a file name, a wnid and a box for each.

use std::collections::HashMap;
use std::fs;
use std::path::Path;

use super::faults::again;
use crate::error::{Error, Result};
use crate::folders::names;

/// The name of the file in the archive. Copies of the set also have it with the extension of a table.
pub(super) const NAME: &str = "val/val_annotations.txt";
const STEM: &str = "val_annotations.";
/// Folders that may have it.
const FOLDERS: [&str; 3] = ["val", "val/images", "."];

/// The classes of the validation images.
#[derive(Debug, Default)]
pub(super) struct Annotations {
    /// The file, a path below the root; that of the archive if there is none.
    pub path: String,
    /// The label of each file name. Empty without a file.
    pub labels: HashMap<String, i64>,
}

/// Whether a file name is that of annotations.
pub(super) fn is_annotations(name: &str) -> bool {
    name.starts_with(STEM)
}

/// Reads the annotations, if there are any. `classes` has the label of each wnid.
///
/// # Errors
/// `Missing` if the file cannot be read, or if a line has no file name and wnid of a training class.
pub(super) fn read(root: &Path, classes: &HashMap<&str, i64>) -> Result<Annotations> {
    let Some(path) = FOLDERS.iter().find_map(|folder| find(root, folder)) else {
        return Ok(Annotations { path: NAME.into(), ..Annotations::default() });
    };
    let file = root.join(&path);
    let text = fs::read_to_string(&file)
        .map_err(|error| Error::missing(format!("cannot read {}: {error}", file.display())).hint(again()))?;
    let mut labels = HashMap::new();
    for (i, line) in text.trim_start_matches('\u{feff}').lines().enumerate() {
        let fault = |reason: &str| Error::missing(format!("{}:{}: {reason}", file.display(), i + 1)).hint(again());
        let mut columns = line.split(['\t', ',', ';', ' ']).map(|column| column.trim_matches('"'));
        let (name, wnid) = (columns.next().unwrap_or_default(), columns.next());
        match wnid.map(|wnid| (wnid, classes.get(wnid))) {
            Some((_, Some(&label))) => drop(labels.insert(name.to_owned(), label)),
            // The first line of a table names its columns.
            _ if line.trim().is_empty() || (i == 0 && !name.contains('.')) => {}
            Some((wnid, None)) => return Err(fault(&format!("`{wnid}` is no class of the training part"))),
            None => return Err(fault("wanted a file name, a tab and a wnid")),
        }
    }
    Ok(Annotations { path, labels })
}

/// The annotations in a folder, as a path below the root.
fn find(root: &Path, folder: &str) -> Option<String> {
    let name = names(&root.join(folder)).ok()?.into_iter().find(|name| is_annotations(name))?;
    Some(if folder == "." { name } else { format!("{folder}/{name}") })
}
