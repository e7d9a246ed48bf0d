//! Recognises the format of an image file and decodes it.

use super::format::{Format, recognise};
use super::rgb_image::RgbImage;
use super::{gif, jpeg, png, webp};

/// Part of the reason why a file of another format is not decoded.
pub const ONLY_READ: &str = "only JPEG, PNG, WebP and GIF are read";

/// Decodes the bytes of an image file. An error is the reason, for a sentence that begins with the file's name.
pub fn decode(bytes: &[u8]) -> Result<RgbImage, String> {
    match (recognise(bytes), bytes) {
        (Some(Format::Jpeg), _) => jpeg::decode(bytes),
        (Some(Format::Png), _) => png::decode(bytes),
        (Some(Format::WebP), _) => webp::decode(bytes),
        (Some(Format::Gif), _) => gif::decode(bytes),
        (Some(other), _) => Err(format!("it is {other}, and {ONLY_READ}")),
        (None, []) => Err("it is empty".into()),
        (None, _) if is_web_page(bytes) => Err("it is a web page, as a failed download leaves it".into()),
        (None, [first, ..]) => Err(format!("it is no image (its first byte is {first:#04x})")),
    }
}

/// Whether the bytes begin like HTML, or like the XML with which a file server reports an error.
fn is_web_page(bytes: &[u8]) -> bool {
    let start: Vec<u8> = bytes.trim_ascii_start().iter().take(14).map(u8::to_ascii_lowercase).collect();
    [&b"<!doctype html"[..], b"<html", b"<?xml"].iter().any(|page| start.starts_with(page))
}
