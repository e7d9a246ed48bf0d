//! Decodes PNG. Transparency is dropped, as by `convert("RGB")`: the colour beneath stays.

use std::io::Cursor;

use png::{BitDepth, ColorType, Decoder, Limits, Transformations};

use super::rgb_image::{MAX_PIXELS, RgbImage, check_size, planar};

/// Limit of the decoder's memory: four channels of two bytes.
const MAX_BYTES: usize = 8 * MAX_PIXELS;

pub fn decode(bytes: &[u8]) -> Result<RgbImage, String> {
    let text = |error: png::DecodingError| error.to_string();
    let mut decoder = Decoder::new_with_limits(Cursor::new(bytes), Limits { bytes: MAX_BYTES });
    // Expands palettes to colours, and 1, 2 and 4 bits to 8.
    decoder.set_transformations(Transformations::EXPAND);
    let mut reader = decoder.read_info().map_err(text)?;
    let stored = reader.info().color_type;
    let [width, height] = [reader.info().width, reader.info().height].map(|side| side as usize);
    check_size(width, height)?;
    let mut buffer = vec![0; reader.output_buffer_size().ok_or("it is too large")?];
    let frame = reader.next_frame(&mut buffer).map_err(text)?;

    let channels = frame.color_type.samples();
    // Grey is used for all three colours. Alpha, the last channel, is not used.
    let source = |channel: usize| if channels < 3 { 0 } else { channel };
    Ok(match (frame.bit_depth, stored) {
        // Pillow keeps 16 bits of grey as integers, and clips them when it converts to 8 bits.
        (BitDepth::Sixteen, ColorType::Grayscale) => planar(width, height, |pixel, _| {
            let at = 2 * channels * pixel;
            if buffer[at] == 0 { buffer[at + 1] } else { u8::MAX }
        }),
        // From other 16-bit images it keeps the high bytes.
        (BitDepth::Sixteen, _) => {
            planar(width, height, |pixel, channel| buffer[2 * (channels * pixel + source(channel))])
        }
        _ => planar(width, height, |pixel, channel| buffer[channels * pixel + source(channel)]),
    })
}
