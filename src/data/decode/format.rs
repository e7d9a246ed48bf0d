//! Recognises the format of an image file by its first bytes.

use std::fmt;

/// Number of bytes at the start of a file that [`recognise`] looks at.
pub const HEAD_BYTES: usize = 32;

/// A format of image files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    Jpeg,
    Png,
    WebP,
    Gif,
    Bmp,
    Tiff,
    Netpbm,
    Avif,
    Heic,
    Jpeg2000,
    JpegXl,
    Icon,
    Photoshop,
    Svg,
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Format::Jpeg => "JPEG",
            Format::Png => "PNG",
            Format::WebP => "WebP",
            Format::Gif => "GIF",
            Format::Bmp => "BMP",
            Format::Tiff => "TIFF",
            Format::Netpbm => "PPM, PGM or PBM",
            Format::Avif => "AVIF",
            Format::Heic => "HEIC",
            Format::Jpeg2000 => "JPEG 2000",
            Format::JpegXl => "JPEG XL",
            Format::Icon => "ICO",
            Format::Photoshop => "Photoshop",
            Format::Svg => "SVG",
        })
    }
}

/// The format of a file that begins with `head` (at least [`HEAD_BYTES`] bytes of it, or all). `None` if it begins like
/// none of them.
pub fn recognise(head: &[u8]) -> Option<Format> {
    Some(match head {
        [0xff, 0xd8, 0xff, ..] => Format::Jpeg,
        [0x89, b'P', b'N', b'G', ..] => Format::Png,
        [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'E', b'B', b'P', ..] => Format::WebP,
        [b'G', b'I', b'F', b'8', b'7' | b'9', b'a', ..] => Format::Gif,
        // The file header has two reserved fields, which are 0.
        [b'B', b'M', _, _, _, _, 0, 0, 0, 0, ..] => Format::Bmp,
        // The number is 42, and 43 in files of more than 4 GB.
        [b'I', b'I', 42 | 43, 0, ..] | [b'M', b'M', 0, 42 | 43, ..] => Format::Tiff,
        [b'P', b'1'..=b'7', b' ' | b'\t' | b'\r' | b'\n' | b'#', ..] => Format::Netpbm,
        [_, _, _, _, b'f', b't', b'y', b'p', brand @ ..] => of_brand(brand.get(..4)?)?,
        [0, 0, 0, 12, b'j', b'P', b' ', b' ', ..] | [0xff, 0x4f, 0xff, 0x51, ..] => Format::Jpeg2000,
        [0, 0, 0, 12, b'J', b'X', b'L', b' ', ..] | [0xff, 0x0a, ..] => Format::JpegXl,
        [0, 0, 1, 0, 1..=64, 0, ..] => Format::Icon,
        [b'8', b'B', b'P', b'S', ..] => Format::Photoshop,
        [b'<', b's', b'v', b'g', ..] => Format::Svg,
        _ => return None,
    })
}

/// The format of a file in the container of MPEG-4 (ISO 14496-12), by its main brand.
fn of_brand(brand: &[u8]) -> Option<Format> {
    match brand {
        b"avif" | b"avis" => Some(Format::Avif),
        b"heic" | b"heix" | b"hevc" | b"heim" | b"heis" | b"mif1" | b"msf1" => Some(Format::Heic),
        _ => None, // a video
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_are_told_by_their_first_bytes() {
        for (head, wanted) in [
            (&b"\xff\xd8\xff\xe0\0\x10JFIF"[..], Some(Format::Jpeg)),
            (b"\x89PNG\r\n\x1a\n", Some(Format::Png)),
            (b"RIFF\x10\0\0\0WEBPVP8 ", Some(Format::WebP)),
            (b"RIFF\x10\0\0\0WAVEfmt ", None),
            (b"GIF87a", Some(Format::Gif)),
            (b"BM\x36\0\0\0\0\0\0\0\x36\0\0\0", Some(Format::Bmp)),
            (b"BMW is a car, and this is a text", None),
            (b"II*\0\x08\0\0\0", Some(Format::Tiff)),
            (b"MM\0*\0\0\0\x08", Some(Format::Tiff)),
            (b"P6\n2 2\n255\n", Some(Format::Netpbm)),
            (b"P600 of the budget", None),
            (b"\0\0\0\x1cftypavif", Some(Format::Avif)),
            (b"\0\0\0\x18ftypheic", Some(Format::Heic)),
            (b"\0\0\0\x18ftypmp42", None),
            (b"\0\0\0\x0cjP  \r\n", Some(Format::Jpeg2000)),
            (b"\xff\x0a", Some(Format::JpegXl)),
            (b"<svg xmlns=", Some(Format::Svg)),
            (b"", None),
            (b"a,b\n", None),
        ] {
            assert_eq!(recognise(head), wanted, "{:?}", String::from_utf8_lossy(head));
        }
    }
}
