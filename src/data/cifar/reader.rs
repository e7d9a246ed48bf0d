//! Finds a CIFAR set and reads it.

use std::path::{Path, PathBuf};

use super::binary::read_binary;
use super::file::{CHANNELS, SIDE};
use super::format::{CifarFormat, CifarLayout};
use super::python::read_python;
use crate::data::images::Images;
use crate::data::raw_dataset::RawDataset;
use crate::error::{Error, Result};
use crate::shell;

/// Loads the set from its folder in `data_dir`, or from `data_dir` itself if the files lie there. If both layouts are
/// present, reads the binary one. `download` only changes the message about a set that is not there.
///
/// # Errors
/// `Missing` if a file is absent, has another size or structure, or has a label outside of the classes.
pub fn load(data_dir: &Path, format: &CifarFormat, download: bool) -> Result<RawDataset> {
    let (read, layout, folder) = find(data_dir, format).ok_or_else(|| absent(data_dir, format, download))?;
    let mut train = empty(format.train.len() * format.images_per_train_file);
    for &stem in format.train {
        read(&file(&folder, layout, stem), format, format.images_per_train_file, &mut train)?;
    }
    let mut test = empty(format.images_per_test_file);
    read(&file(&folder, layout, format.test), format, format.images_per_test_file, &mut test)?;
    let class_names = format.class_names.iter().map(|name| name.to_string()).collect();
    Ok(RawDataset { train, test, class_names, fingerprints: None })
}

fn empty(room: usize) -> Images {
    Images::with_capacity(room, CHANNELS, SIDE, SIDE)
}

/// Appends the images of one file. Arguments: path, format, number of images in the file, target.
type ReadFile = fn(&Path, &CifarFormat, usize, &mut Images) -> Result<()>;

/// The layout to read, with its reader and its folder. A folder below `data_dir` is preferred to `data_dir` itself, and
/// the binary layout to the python one.
fn find<'a>(data_dir: &Path, format: &'a CifarFormat) -> Option<(ReadFile, &'a CifarLayout, PathBuf)> {
    let layouts = [(read_binary as ReadFile, &format.binary), (read_python as ReadFile, &format.python)];
    let below = layouts.map(|(read, layout)| (read, layout, data_dir.join(layout.folder)));
    if let Some(found) = below.into_iter().find(|(_, _, folder)| folder.is_dir()) {
        return Some(found);
    }
    let stems = || format.train.iter().chain([&format.test]);
    let is_here = |layout: &CifarLayout| stems().any(|stem| file(data_dir, layout, stem).is_file());
    let (read, layout) = layouts.into_iter().find(|(_, layout)| is_here(layout))?;
    Some((read, layout, data_dir.to_path_buf()))
}

fn file(folder: &Path, layout: &CifarLayout, stem: &str) -> PathBuf {
    folder.join(format!("{stem}{}", layout.extension))
}

fn absent(data_dir: &Path, format: &CifarFormat, download: bool) -> Error {
    let CifarFormat { title, binary, python, .. } = format;
    let place = data_dir.display();
    let error = Error::missing(format!(
        "{title} is not in {place}: neither {} nor {} is there{}",
        binary.folder,
        python.folder,
        if download { "" } else { ", and data.download is false" }
    ));
    for archive in [binary.archive, python.archive] {
        let path = data_dir.join(archive);
        if path.is_file() {
            return error.hint(format!("the archive is there, unpack it: {}", unpack(&path, data_dir)));
        }
    }
    error.hint(format!(
        "set data.data_dir to the folder that has it, or data.download=true, or fetch {} and unpack it: {}",
        binary.url,
        unpack(Path::new(binary.archive), data_dir)
    ))
}

/// The command that unpacks an archive into a folder.
fn unpack(archive: &Path, folder: &Path) -> String {
    shell::command(["tar", "-xzf", &archive.to_string_lossy(), "-C", &folder.to_string_lossy()])
}
