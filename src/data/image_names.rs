//! Tells image files from the other files of a folder.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use super::decode::{self, Format};

/// Extensions of image formats, in lower case.
const OF_IMAGES: [&str; 24] = [
    "jpg", "jpeg", "jpe", "jfif", "pjpeg", "png", "apng", "bmp", "dib", "gif", "webp", "tif", "tiff", "ppm", "pgm",
    "pbm", "pnm", "jp2", "j2k", "jxl", "avif", "heic", "heif", "ico",
];
/// Extensions of copies that editors and downloads leave behind, in lower case. Their content can be an image.
const OF_LEFTOVERS: [&str; 8] = ["bak", "old", "orig", "tmp", "temp", "part", "crdownload", "swp"];

/// Whether the file at `path` is to be read as an image: its name has the extension of an image format, or its content
/// begins like an image where the name says nothing (`n0153282900000036`, `subject01.happy`).
pub(super) fn is_image(path: &Path) -> bool {
    let extension = path.extension().map(|extension| extension.to_string_lossy().to_lowercase()).unwrap_or_default();
    if OF_IMAGES.contains(&extension.as_str()) {
        return true;
    }
    !extension.ends_with('~') && !OF_LEFTOVERS.contains(&extension.as_str()) && begins_like_an_image(path)
}

/// Formats that begin with a few common letters, or with the first bytes of TIFF as a camera's raw files do, are told
/// by their names alone.
fn begins_like_an_image(path: &Path) -> bool {
    let mut head = Vec::new();
    let read = File::open(path).and_then(|file| file.take(decode::HEAD_BYTES as u64).read_to_end(&mut head));
    read.is_ok() && matches!(decode::recognise(&head), Some(Format::Jpeg | Format::Png | Format::WebP | Format::Gif))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_are_told_by_extension_and_otherwise_by_content() {
        let folder = tempfile::tempdir().unwrap();
        let jpeg = b"\xff\xd8\xff\xe0 and so on";
        for (name, content, wanted) in [
            ("a.jpg", &b""[..], true),
            ("a.JPEG", b"text", true),
            ("a.webp", b"", true),
            ("n0153282900000036", jpeg, true),
            ("subject01.happy", b"GIF89a", true),
            ("photo.jpg_large", jpeg, true),
            ("photo.jpg~", jpeg, false),
            ("photo.jpg.bak", jpeg, false),
            ("photo.jpg.part", jpeg, false),
            ("Thumbs.db", b"\xd0\xcf\x11\xe0", false),
            ("desktop.ini", b"[.ShellClassInfo]", false),
            ("README", b"BMP files are not here", false),
            ("labels.csv", b"a.jpg,cat", false),
            ("SHA256SUMS", b"0000  a.jpg", false),
            ("raw.nef", b"MM\0*", false),
            ("empty", b"", false),
        ] {
            let path = folder.path().join(name);
            std::fs::write(&path, content).unwrap();
            assert_eq!(is_image(&path), wanted, "{name}");
        }
    }
}
