//! Decodes image files to RGB, with exactly the pixels of Pillow's `Image.open(...).convert("RGB")`.
//!
//! Formats are recognised by their first bytes, not by the name of the file. Files that Pillow refuses are refused
//! here too: a truncated file, or an image with too many pixels. BMP and TIFF are not
//! read: their many kinds would not all have Pillow's pixels. The orientation that a camera notes in EXIF is not
//! applied, just as torchvision's `ImageFolder` does not apply it.

mod any_format;
mod format;
mod gif;
mod jpeg;
mod png;
mod resize;
mod rgb_image;
mod webp;

pub use any_format::{ONLY_READ, decode};
pub use format::{Format, HEAD_BYTES, recognise};
pub use resize::to_square;
pub use rgb_image::RgbImage;
