//! Image files for small image folders. They are the fixtures that `tests/fixtures/make_images.py` writes.

use std::fs;
use std::path::Path;

pub const FIXTURES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/images");

/// Image files 29 pixels wide and 19 high, all different.
pub const FILES: [&str; 6] = ["420.jpg", "444.jpg", "grey.jpg", "rgb8.png", "palette4.png", "grey16.png"];

/// Copies the file `fixture` to the path `to` and makes the folders above it.
pub fn put(fixture: &str, to: &Path) {
    fs::create_dir_all(to.parent().unwrap()).unwrap();
    fs::copy(Path::new(FIXTURES).join(fixture), to).unwrap();
}
