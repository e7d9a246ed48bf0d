//! An image file's bytes to RGB, with the very pixels that Pillow's `Image.open(...).convert("RGB")` gives.
//!
//! JPEG and PNG are told by their first bytes, whatever the file is called. What Pillow refuses is refused: a file that
//! ends too early, an image of more pixels than could be meant. The orientation that a camera notes in EXIF is not
//! applied, as torchvision's `ImageFolder` does not apply it either.

mod jpeg;
mod png;
mod resize;

pub use resize::to_square;

/// RGB, planar: H*W red, then green, then blue, row by row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    pub width: usize,
    pub height: usize,
    pub pixels: Vec<u8>,
}

/// Pillow's own limit, above which it suspects a decompression bomb.
const MOST_PIXELS: usize = 2 * ((1 << 30) / 4 / 3);

/// Decodes a file. Fails with the reason, for a sentence that begins with the name of the file.
pub fn decode(bytes: &[u8]) -> Result<Image, String> {
    match bytes {
        [] => Err("it is empty".into()),
        [0xff, 0xd8, 0xff, ..] => jpeg::decode(bytes),
        [0x89, b'P', b'N', b'G', ..] => png::decode(bytes),
        [first, ..] => Err(format!("it is neither JPEG nor PNG (its first byte is {first:#04x})")),
    }
}

/// Height times width, where that is not too much.
fn check_size(width: usize, height: usize) -> Result<usize, String> {
    width
        .checked_mul(height)
        .filter(|pixels| *pixels <= MOST_PIXELS)
        .ok_or_else(|| format!("{width}x{height} is more than {MOST_PIXELS} pixels"))
}

/// An image from a function of (pixel, channel).
fn planar(width: usize, height: usize, value: impl Fn(usize, usize) -> u8) -> Image {
    let plane = width * height;
    let mut pixels = Vec::with_capacity(3 * plane);
    for channel in 0..3 {
        pixels.extend((0..plane).map(|pixel| value(pixel, channel)));
    }
    Image { width, height, pixels }
}
