//! Options of packing.

use std::path::Path;

/// Options of packing.
#[derive(Debug, Clone)]
pub struct PackOptions<'a> {
    /// The data set: the value of `data.name`.
    pub name: &'a str,
    /// All images are resized to squares of this side; `None` if they have one size already.
    pub image_size: Option<usize>,
    /// True to leave out files that cannot be decoded, false to fail.
    pub skip_corrupt: bool,
    /// Folder for packs that cannot lie beside the images.
    pub cache_dir: &'a Path,
    /// Number of threads that decode.
    pub threads: usize,
}
