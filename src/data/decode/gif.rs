//! Decodes GIF, of an animation the first frame. Transparent pixels have the colour that the palette has for them, as by
//! `convert("RGB")`.

use gif::{ColorOutput, DecodeOptions, DecodingError};

use super::rgb_image::{RgbImage, check_size, planar};

pub fn decode(bytes: &[u8]) -> Result<RgbImage, String> {
    let text = |error: DecodingError| error.to_string();
    let mut options = DecodeOptions::new();
    options.set_color_output(ColorOutput::Indexed);
    let mut decoder = options.read_info(bytes).map_err(text)?;
    let screen = [decoder.width(), decoder.height()].map(usize::from);
    let global = decoder.global_palette().map(<[u8]>::to_vec);
    let frame = decoder.read_next_frame().map_err(text)?.ok_or("it holds no image")?;
    let [left, top, across, down] = [frame.left, frame.top, frame.width, frame.height].map(usize::from);
    // A frame that is larger than the screen makes the image larger, as in Pillow.
    let [width, height] = [screen[0].max(left + across), screen[1].max(top + down)];
    // The screen beneath the frame.
    let mut indices = vec![frame.transparent.unwrap_or(0); check_size(width, height)?];
    for (row, line) in frame.buffer.chunks_exact(across.max(1)).enumerate() {
        let start = (top + row) * width + left;
        indices[start..start + across].copy_from_slice(line);
    }
    let palette = frame.palette.as_ref().or(global.as_ref());
    Ok(planar(width, height, |pixel, channel| {
        let index = indices[pixel];
        // Without a palette the values are grey.
        palette.map_or(index, |palette| palette.get(3 * usize::from(index) + channel).copied().unwrap_or(0))
    }))
}
