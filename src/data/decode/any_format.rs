//! Recognises the format of an image file and decodes it.

use super::rgb_image::RgbImage;
use super::{jpeg, png};

/// Decodes the bytes of a JPEG or PNG file. An error is the reason, for a sentence that begins with the file's name.
pub fn decode(bytes: &[u8]) -> Result<RgbImage, String> {
    match bytes {
        [] => Err("it is empty".into()),
        [0xff, 0xd8, 0xff, ..] => jpeg::decode(bytes),
        [0x89, b'P', b'N', b'G', ..] => png::decode(bytes),
        [first, ..] => Err(format!("it is neither JPEG nor PNG (its first byte is {first:#04x})")),
    }
}
