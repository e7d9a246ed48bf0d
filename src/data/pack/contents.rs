//! Opens a pack and verifies it.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::path::Path;

use memmap2::Mmap;
use sha2::{Digest, Sha256};

use super::corrupt::corrupt;
use super::format::{MAGIC, PIXELS_AT, PackFacts};
use crate::data::images::{Fingerprints, Images};
use crate::data::pixels::{MappedFile, Pixels};
use crate::data::raw_dataset::RawDataset;
use crate::error::Result;

/// The contents of a pack.
pub(super) struct PackContents {
    pub dataset: RawDataset,
    /// Files that could not be decoded, each with the reason.
    pub skipped: Vec<String>,
}

impl PackContents {
    /// The data set. If files were left out when the pack was made, that is an error, or with `skip_corrupt` a warning.
    pub fn into_dataset(self, skip_corrupt: bool) -> Result<RawDataset> {
        if !self.skipped.is_empty() {
            let error = corrupt(&self.skipped, self.dataset.train.len() + self.dataset.test.len() + self.skipped.len());
            if !skip_corrupt {
                return Err(error);
            }
            tracing::warn!("left out: {}", error.message());
        }
        Ok(self.dataset)
    }
}

/// Result of looking for a pack.
pub(super) enum PackLookup {
    Absent,
    /// With the reason.
    Damaged(String),
    Ready(Box<PackContents>),
}

/// Maps the pack at `path` and verifies its checksums.
pub(super) fn open(path: &Path) -> PackLookup {
    // SAFETY: a write to the file would change the mapped bytes, and shortening it would end the process with SIGBUS. A
    // pack is written under another name, renamed when it is complete, and replaced only by another rename, which
    // leaves this map on the old file. regun never opens a pack for writing. It cannot stop other programs from doing
    // so, as with any program that maps files.
    let map = File::open(path).and_then(|file| unsafe { Mmap::map(&file) });
    match map.map(MappedFile::new) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => PackLookup::Absent,
        Err(error) => PackLookup::Damaged(error.to_string()),
        Ok(map) => match read(&map) {
            Ok(contents) => PackLookup::Ready(contents.into()),
            Err(why) => PackLookup::Damaged(why),
        },
    }
}

fn read(map: &MappedFile) -> Result<PackContents, String> {
    let PackFacts { channels, height, width, class_names, train_labels, test_labels, skipped, fingerprint: wanted } =
        facts(map)?;
    let image = [channels, height, width].iter().try_fold(1_usize, |size, &side| size.checked_mul(side));
    let sizes = [&train_labels, &test_labels].map(|labels| image.and_then(|image| image.checked_mul(labels.len())));
    let [Some(train_bytes), Some(test_bytes)] = sizes else { return Err("its shape is impossible".into()) };
    let pixels_end = train_bytes.checked_add(test_bytes).and_then(|bytes| bytes.checked_add(PIXELS_AT));
    if pixels_end != Some(facts_range(map)?.start) {
        return Err("the number of its pixels does not fit its labels".into());
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
    let fingerprints = Fingerprints::of(&train, &test);
    if fingerprints.all != wanted {
        return Err("its content has another checksum than when it was made".into());
    }
    let dataset = RawDataset { train, test, class_names, fingerprints: Some(fingerprints) };
    Ok(PackContents { dataset, skipped })
}

/// Byte range of the facts.
fn facts_range(map: &MappedFile) -> Result<Range<usize>, String> {
    let number = |at: usize| map.get(at..at + 8).and_then(|bytes| bytes.try_into().ok()).map(u64::from_le_bytes);
    let (Some(start), Some(length)) = (number(8), number(16)) else { return Err("it is too short".into()) };
    let range = usize::try_from(start).ok().zip(usize::try_from(length).ok());
    match range.and_then(|(start, length)| Some(start..start.checked_add(length)?)) {
        Some(range) if range.start >= PIXELS_AT && range.end == map.len() => Ok(range),
        _ => Err(format!("it has {} bytes, but its header states another size", map.len())),
    }
}

fn facts(map: &MappedFile) -> Result<PackFacts, String> {
    if map.get(..MAGIC.len()) != Some(MAGIC) {
        return Err("it does not begin like a pack".into());
    }
    let bytes = &map[facts_range(map)?];
    if map.get(24..56) != Some(&Sha256::digest(bytes)[..]) {
        return Err("its facts have another checksum than when it was made".into());
    }
    serde_json::from_slice(bytes).map_err(|error| error.to_string())
}
