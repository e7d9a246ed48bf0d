//! The format of a pack.
//!
//! | bytes | content |
//! | --- | --- |
//! | 0..8 | `REGUNPK1` |
//! | 8..16, 16..24 | offset and length of the facts, little-endian |
//! | 24..56 | SHA-256 of the facts |
//! | 4096.. | pixels: uint8, N*C*H*W of train, then of test |
//! | the rest | facts, JSON: shape, labels, class names, what was left out, fingerprint of all of it |

use std::fs::File;
use std::io::{self, BufWriter, Seek, SeekFrom, Write};
use std::path::Path;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::data::pixels::{Mapped, Pixels};
use crate::data::source::{Images, Source, fingerprint};

const MAGIC: &[u8; 8] = b"REGUNPK1";
/// Pixels begin with a page.
const PIXELS_AT: usize = 4096;

#[derive(Debug, Serialize, Deserialize)]
struct Facts {
    channels: usize,
    height: usize,
    width: usize,
    class_names: Vec<String>,
    train_labels: Vec<i64>,
    test_labels: Vec<i64>,
    skipped: Vec<String>,
    fingerprint: String,
}

/// What a pack holds.
pub struct Contents {
    pub source: Source,
    /// Files that could not be decoded, each with the reason.
    pub skipped: Vec<String>,
}

/// What is at a place where a pack is looked for.
pub enum Found {
    Nothing,
    /// And why.
    Damaged(String),
    Ready(Contents),
}

pub fn open(path: &Path) -> Found {
    let map = File::open(path).and_then(|file| Mapped::open(&file));
    match map {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Found::Nothing,
        Err(error) => Found::Damaged(error.to_string()),
        Ok(map) => match read(&map) {
            Ok(contents) => Found::Ready(contents),
            Err(why) => Found::Damaged(why),
        },
    }
}

fn read(map: &Mapped) -> Result<Contents, String> {
    let Facts { channels, height, width, class_names, train_labels, test_labels, skipped, fingerprint: wanted } =
        facts(map)?;
    let image = [channels, height, width].iter().try_fold(1_usize, |size, &side| size.checked_mul(side));
    let sizes = [&train_labels, &test_labels].map(|labels| image.and_then(|image| image.checked_mul(labels.len())));
    let [Some(train_bytes), Some(test_bytes)] = sizes else { return Err("its shape is impossible".into()) };
    let pixels_end = train_bytes.checked_add(test_bytes).and_then(|bytes| bytes.checked_add(PIXELS_AT));
    if pixels_end != Some(facts_range(map)?.start) {
        return Err("its pixels are not as many as its labels want".into());
    }
    let test_at = PIXELS_AT + train_bytes;
    let images = |labels: Vec<i64>, start: usize, bytes: usize| Images {
        pixels: Pixels::Mapped(map.slice(start..start + bytes)),
        labels,
        channels,
        height,
        width,
    };
    let train = images(train_labels, PIXELS_AT, train_bytes);
    let test = images(test_labels, test_at, test_bytes);
    if fingerprint(&train, &test) != wanted {
        return Err("its content has another checksum than when it was made".into());
    }
    Ok(Contents { source: Source { train, test, class_names, fingerprint: Some(wanted) }, skipped })
}

fn facts_range(map: &Mapped) -> Result<std::ops::Range<usize>, String> {
    let number = |at: usize| map.get(at..at + 8).and_then(|bytes| bytes.try_into().ok()).map(u64::from_le_bytes);
    let (Some(start), Some(length)) = (number(8), number(16)) else { return Err("it is too short".into()) };
    let range = usize::try_from(start).ok().zip(usize::try_from(length).ok());
    match range.and_then(|(start, length)| Some(start..start.checked_add(length)?)) {
        Some(range) if range.start >= PIXELS_AT && range.end == map.len() => Ok(range),
        _ => Err(format!("it has {} bytes, which is not what its head says", map.len())),
    }
}

fn facts(map: &Mapped) -> Result<Facts, String> {
    if map.get(..MAGIC.len()) != Some(MAGIC) {
        return Err("it does not begin as a pack does".into());
    }
    let bytes = &map[facts_range(map)?];
    if map.get(24..56) != Some(&Sha256::digest(bytes)[..]) {
        return Err("its facts have another checksum than when it was made".into());
    }
    serde_json::from_slice(bytes).map_err(|error| error.to_string())
}

/// Writes a pack: pixels as they come, the rest when they are complete.
pub struct Writer<'a> {
    out: BufWriter<&'a mut File>,
    /// Bytes written so far.
    end: usize,
}

impl<'a> Writer<'a> {
    pub fn new(file: &'a mut File) -> io::Result<Self> {
        let mut out = BufWriter::with_capacity(1 << 20, file);
        out.write_all(&[0; PIXELS_AT])?;
        Ok(Writer { out, end: PIXELS_AT })
    }

    pub fn pixels(&mut self, pixels: &[u8]) -> io::Result<()> {
        self.end += pixels.len();
        self.out.write_all(pixels)
    }

    /// Facts and head. `size` is (C, H, W); the labels are those of the images that were written.
    pub fn finish(
        mut self,
        (channels, height, width): (usize, usize, usize),
        class_names: &[String],
        [train_labels, test_labels]: [Vec<i64>; 2],
        skipped: Vec<String>,
    ) -> io::Result<()> {
        self.out.flush()?;
        let map = Mapped::open(self.out.get_ref())?;
        let test_at = PIXELS_AT + train_labels.len() * channels * height * width;
        let images = |labels: &[i64], range| Images {
            pixels: Pixels::Mapped(map.slice(range)),
            labels: labels.to_vec(),
            channels,
            height,
            width,
        };
        let fingerprint =
            fingerprint(&images(&train_labels, PIXELS_AT..test_at), &images(&test_labels, test_at..self.end));
        let class_names = class_names.to_vec();
        let facts = Facts { channels, height, width, class_names, train_labels, test_labels, skipped, fingerprint };
        let facts = serde_json::to_vec(&facts)?;
        self.out.write_all(&facts)?;
        self.out.seek(SeekFrom::Start(0))?;
        self.out.write_all(MAGIC)?;
        for number in [self.end, facts.len()] {
            self.out.write_all(&(number as u64).to_le_bytes())?;
        }
        self.out.write_all(&Sha256::digest(&facts))?;
        self.out.flush()
    }
}
