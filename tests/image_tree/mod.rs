//! Image files for small trees: the fixtures of `tests/fixtures/make_images.py`.

use std::fs;
use std::path::Path;

pub const FIXTURES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/images");

/// Files of 29x19 pixels, all different.
pub const FILES: [&str; 6] = ["420.jpg", "444.jpg", "grey.jpg", "rgb8.png", "palette4.png", "grey16.png"];

/// Copies a fixture, making the folders above it.
pub fn put(fixture: &str, to: &Path) {
    fs::create_dir_all(to.parent().unwrap()).unwrap();
    fs::copy(Path::new(FIXTURES).join(fixture), to).unwrap();
}
