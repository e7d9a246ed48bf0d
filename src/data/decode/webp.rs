//! Decodes WebP, of an animation the first frame. Transparency is dropped, as by `convert("RGB")`: the colour beneath
//! stays.

use std::io::Cursor;

use image_webp::{DecodingError, WebPDecoder};

use super::rgb_image::{RgbImage, check_size, planar};

pub fn decode(bytes: &[u8]) -> Result<RgbImage, String> {
    if !is_complete(bytes) {
        return Err("it is truncated: it is shorter than its header says".into());
    }
    let text = |error: DecodingError| error.to_string();
    let mut decoder = WebPDecoder::new(Cursor::new(bytes)).map_err(text)?;
    let (width, height) = decoder.dimensions();
    let [width, height] = [width, height].map(|side| side as usize);
    check_size(width, height)?;
    let channels = if decoder.has_alpha() { 4 } else { 3 };
    let mut buffer = vec![0; decoder.output_buffer_size().ok_or("it is too large")?];
    decoder.read_image(&mut buffer).map_err(text)?;
    Ok(planar(width, height, |pixel, channel| buffer[channels * pixel + channel]))
}

/// Whether the file has the bytes that the header of its container (RIFF) counts, itself of 8 bytes not included. The
/// decoder goes on without the last few.
fn is_complete(bytes: &[u8]) -> bool {
    match bytes {
        [_, _, _, _, a, b, c, d, rest @ ..] => rest.len() as u64 >= u64::from(u32::from_le_bytes([*a, *b, *c, *d])),
        _ => false,
    }
}
