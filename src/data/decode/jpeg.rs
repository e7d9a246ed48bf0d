//! Decodes JPEG with libjpeg-turbo: accurate integer DCT and smooth chroma upsampling, the defaults of libjpeg-turbo
//! and Pillow.

use turbojpeg::{Colorspace, Decompressor, Error, PixelFormat};

use super::rgb_image::{RgbImage, check_size, planar};

pub fn decode(bytes: &[u8]) -> Result<RgbImage, String> {
    if !is_complete(bytes) {
        return Err("it is truncated: it ends before the end of the image".into());
    }
    // After a broken file a decompressor may fail on the next one, so each file gets its own. That costs little.
    let mut jpeg = Decompressor::new().map_err(|error| reason(&error))?;
    let header = jpeg.read_header(bytes).map_err(|error| reason(&error))?;
    let (width, height) = (header.width, header.height);
    let size = check_size(width, height)?;
    let format = match header.colorspace {
        Colorspace::CMYK | Colorspace::YCCK => PixelFormat::CMYK,
        _ => PixelFormat::RGB,
    };
    let samples = format.size();
    let mut buffer = vec![0; size * samples];
    let output = turbojpeg::Image { pixels: buffer.as_mut_slice(), width, pitch: width * samples, height, format };
    match jpeg.decompress(bytes, output) {
        Ok(()) => {}
        // Nothing is missing and the decoder continued. Pillow ignores this damage without a message.
        Err(Error::TurboJpegError(message)) if is_warning(&message) => {}
        Err(error) => return Err(reason(&error)),
    }
    Ok(match format {
        PixelFormat::CMYK => planar(width, height, |pixel, channel| {
            // Adobe's files hold inverted inks. Pillow treats all files as Adobe's.
            let [ink, black] = [channel, 3].map(|channel| 255 - buffer[4 * pixel + channel]);
            let light = 255 - black;
            light - scaled(ink, light)
        }),
        _ => planar(width, height, |pixel, channel| buffer[3 * pixel + channel]),
    })
}

/// round(a * b / 255)
fn scaled(a: u8, b: u8) -> u8 {
    let product = u32::from(a) * u32::from(b) + 128;
    (((product >> 8) + product) >> 8) as u8
}

/// True for libjpeg's message about damage that it works around.
fn is_warning(message: &str) -> bool {
    ["Corrupt JPEG data: ", "Warning: ", "Inconsistent progression", "Invalid SOS parameters", "Unknown Adobe color"]
        .iter()
        .any(|start| message.starts_with(start))
}

fn reason(error: &Error) -> String {
    match error {
        Error::TurboJpegError(message) => format!("libjpeg-turbo says: {message}"),
        Error::IntegerOverflow(_) => "it holds no image".into(), // only tables, which have no width
        other => other.to_string(),
    }
}

/// True if the marker that ends an image (EOI) is there. If it is missing, libjpeg inserts one with a warning and fills
/// the missing part with grey. A later warning may hide that one, so the warnings do not suffice.
fn is_complete(bytes: &[u8]) -> bool {
    const END: u8 = 0xd9;
    let mut at = 2;
    loop {
        // Compressed data and stray bytes up to the next marker; ff 00 is data, ff ff padding.
        let Some(skipped) = bytes.get(at..).and_then(|rest| rest.iter().position(|&byte| byte == 0xff)) else {
            return false;
        };
        at += skipped + 1;
        match bytes.get(at) {
            None => return false,
            Some(&END) => return true,
            Some(0x00 | 0x01 | 0xd0..=0xd8) => at += 1,
            Some(0xff) => {}
            Some(_) => {
                let Some(&[high, low]) = bytes.get(at + 1..at + 3) else { return false };
                at += 1 + usize::from(u16::from_be_bytes([high, low]));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_is_complete_if_its_own_end_marker_is_there() {
        let thumbnail = [0xff, 0xe1, 0, 6, 1, 0xff, 0xd9, 2]; // an end within a segment
        let scan = [0xff, 0xda, 0, 4, 7, 7, 1, 0xff, 0x00, 0xd9, 0xff, 0xd0, 5, 0xff, 0xff];
        let whole = [&[0xff, 0xd8][..], &thumbnail, &scan, &[0xd9]].concat();
        assert!(is_complete(&whole));
        assert!(is_complete(&[&whole[..], b"appended"].concat()));
        for length in 0..whole.len() {
            assert!(!is_complete(&whole[..length]), "{length}");
        }
    }
}
