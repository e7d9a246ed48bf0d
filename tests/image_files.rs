//! Decoded image files have exactly the pixels of Pillow. The fixtures (`tests/fixtures/make_images.py`) are
//! always tested. Damaged files and a real data set are tested if `.venv/bin/python` has Pillow.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use regun::data::decode::{decode, to_square};
use regun::data::tiny_imagenet;
use regun::digest::sha256;
use serde_json::Value;

const FIXTURES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures");

fn fixture(name: &str) -> Vec<u8> {
    fs::read(Path::new(FIXTURES).join("images").join(name)).unwrap()
}

#[test]
fn every_kind_of_file_has_pillows_pixels() {
    let golden: Value = serde_json::from_str(&fs::read_to_string(format!("{FIXTURES}/images.json")).unwrap()).unwrap();
    let side = golden["square"].as_u64().unwrap() as usize;
    let files = golden["files"].as_object().unwrap();
    assert!(files.len() >= 32);
    for (name, wanted) in files {
        let image = decode(&fixture(name)).unwrap_or_else(|why| panic!("{name}: {why}"));
        let size = (wanted["width"].as_u64().unwrap() as usize, wanted["height"].as_u64().unwrap() as usize);
        assert_eq!((image.width, image.height), size, "{name}");
        assert_eq!(sha256(&image.pixels), wanted["sha256"].as_str().unwrap(), "{name}");
        let square = to_square(image, side).unwrap();
        assert_eq!((square.width, square.height), (side, side), "{name}");
        assert_eq!(sha256(&square.pixels), wanted["square"].as_str().unwrap(), "{name} as a square");
    }
}

#[test]
fn a_file_without_a_whole_image_is_refused_with_the_reason() {
    let (jpeg, png) = (fixture("420.jpg"), fixture("rgb8.png"));
    let mut huge = png.clone();
    huge[16..24].copy_from_slice(&[0, 1, 0, 0, 0, 1, 0, 0]); // 65536 x 65536
    for (bytes, reason) in [
        (&[][..], "it is empty"),
        (b"GIF89a...", ""),
        (b"RIFF\x10\0\0\0WEBPVP8 ", "truncated"),
        (b"BM\x36\0\0\0\0\0\0\0\x36\0\0\0", "it is BMP, and only JPEG, PNG, WebP and GIF are read"),
        (b"II*\0\x08\0\0\0", "it is TIFF, and only"),
        (b"\0\0\0\x1cftypavif", "it is AVIF, and only"),
        (b"\n<!DOCTYPE html><html>", "it is a web page"),
        (b"<?xml version='1.0'?><Error>", "it is a web page"),
        (b"a,b", "it is no image"),
        (b"\xff\xd8\xff", "truncated"),
        (b"\xff\xd8\xff\xd9", "it holds no image"),
        (&jpeg[..jpeg.len() / 2], "truncated"),
        (&jpeg[..jpeg.len() - 1], "truncated"),
        (&png[..png.len() / 2], ""),
        (&png[..20], ""),
        (&huge, ""),
    ] {
        let why = decode(bytes).unwrap_err();
        assert!(!why.is_empty() && why.contains(reason), "{why:?} lacks {reason:?}");
    }
    let tall = [&jpeg[..], b"bytes after the image do not matter"].concat();
    assert_eq!(decode(&tall).unwrap(), decode(&jpeg).unwrap());
}

/// For each file the SHA-256 of Pillow's planar pixels, or `None` if Pillow refuses it. `None` overall without Pillow.
fn pillow(files: &[PathBuf]) -> Option<Vec<Option<String>>> {
    const SCRIPT: &str = "
import hashlib, sys, warnings
import numpy
from PIL import Image
warnings.simplefilter('ignore')
for path in sys.stdin.read().splitlines():
    try:
        pixels = numpy.asarray(Image.open(path).convert('RGB')).transpose(2, 0, 1)
        print(hashlib.sha256(pixels.tobytes()).hexdigest())
    except Exception:
        print('-')
";
    let python = Path::new(env!("CARGO_MANIFEST_DIR")).join(".venv/bin/python");
    let list = tempfile::NamedTempFile::new().unwrap();
    let lines: Vec<String> = files.iter().map(|path| path.display().to_string()).collect();
    fs::write(list.path(), lines.join("\n")).unwrap();
    let has_pillow = Command::new(&python).args(["-c", "import numpy, PIL"]).output().is_ok_and(|o| o.status.success());
    if !has_pillow {
        eprintln!("skipped: {} has no Pillow", python.display());
        return None;
    }
    let output =
        Command::new(&python).args(["-c", SCRIPT]).stdin(fs::File::open(list.path()).unwrap()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    Some(text.lines().map(|line| (line != "-").then(|| line.to_owned())).collect())
}

fn assert_as_pillow(files: &[PathBuf]) {
    let Some(wanted) = pillow(files) else { return };
    assert_eq!(wanted.len(), files.len());
    for (path, wanted) in files.iter().zip(wanted) {
        let found = decode(&fs::read(path).unwrap());
        let hash = found.as_ref().ok().map(|image| sha256(&image.pixels));
        let why = found.as_ref().err();
        assert_eq!(hash, wanted, "{}: {why:?}", path.display());
    }
}

#[test]
fn truncated_files_are_refused_if_pillow_refuses_them() {
    let folder = tempfile::tempdir().unwrap();
    let mut files = Vec::new();
    for name in ["420.jpg", "422_progressive.jpg", "restarts.jpg", "grey.jpg", "lossy.webp", "alpha.webp"] {
        let bytes = fixture(name);
        for length in (1..bytes.len()).step_by(13).chain(bytes.len() - 3..=bytes.len()) {
            let path = folder.path().join(format!("{length}_{name}"));
            fs::write(&path, &bytes[..length]).unwrap();
            files.push(path);
        }
    }
    assert!(files.len() > 200);
    assert_as_pillow(&files);
}

/// libjpeg works around these flaws. If Pillow accepts the image, so does `decode`, with the same pixels.
#[test]
fn flawed_but_whole_jpegs_are_read_as_by_pillow() {
    let folder = tempfile::tempdir().unwrap();
    let mut files = BTreeMap::new();
    for name in ["444.jpg", "restarts.jpg", "grey.jpg"] {
        let bytes = fixture(name);
        let scan = bytes.windows(2).position(|marker| marker == [0xff, 0xda]).unwrap() + 14;
        for at in (scan..bytes.len() - 2).step_by(29) {
            let mut flawed = bytes.clone();
            flawed[at] ^= 0x35;
            if flawed[at - 1..at + 2].contains(&0xff) {
                continue; // a changed marker would make another image
            }
            let path = folder.path().join(format!("{at}_{name}"));
            fs::write(&path, &flawed).unwrap();
            files.insert(path, ());
        }
    }
    assert!(files.len() > 40);
    assert_as_pillow(&files.into_keys().collect::<Vec<_>>());
}

#[test]
fn tiny_imagenet_has_pillows_pixels() {
    let Some(data) = std::env::var_os("REGUN_TEST_DATA").map(PathBuf::from) else {
        eprintln!("skipped: REGUN_TEST_DATA is not set");
        return;
    };
    let listing = tiny_imagenet::list(&data).unwrap();
    let entries = listing.train.iter().step_by(61).chain(listing.test.iter().step_by(17));
    let files: Vec<PathBuf> = entries.map(|entry| listing.root.join(&entry.path)).collect();
    assert!(files.len() > 400);
    assert_as_pillow(&files);
}
