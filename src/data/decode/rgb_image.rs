//! A decoded image.

/// A decoded RGB image, planar: H*W red values, then green, then blue, row by row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RgbImage {
    pub width: usize,
    pub height: usize,
    pub pixels: Vec<u8>,
}

/// Pillow's own limit, above which it suspects a decompression bomb.
pub(super) const MAX_PIXELS: usize = 2 * ((1 << 30) / 4 / 3);

/// Height times width. Fails if that is more than [`MAX_PIXELS`].
pub(super) fn check_size(width: usize, height: usize) -> Result<usize, String> {
    width
        .checked_mul(height)
        .filter(|pixels| *pixels <= MAX_PIXELS)
        .ok_or_else(|| format!("{width}x{height} is more than {MAX_PIXELS} pixels"))
}

/// Makes an image from a function of (pixel, channel).
pub(super) fn planar(width: usize, height: usize, value: impl Fn(usize, usize) -> u8) -> RgbImage {
    let plane = width * height;
    let mut pixels = Vec::with_capacity(3 * plane);
    for channel in 0..3 {
        pixels.extend((0..plane).map(|pixel| value(pixel, channel)));
    }
    RgbImage { width, height, pixels }
}
