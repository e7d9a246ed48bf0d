//! Writes a pack.

use std::fs::File;
use std::io::{self, BufWriter, Seek, SeekFrom, Write};

use memmap2::Mmap;
use sha2::{Digest, Sha256};

use super::format::{MAGIC, PIXELS_AT, PackFacts};
use crate::data::images::{Fingerprints, Images};
use crate::data::pixels::{MappedFile, Pixels};

/// Writes a pack: first the pixels, image by image, then the facts and the header.
pub(super) struct PackWriter<'a> {
    out: BufWriter<&'a mut File>,
    /// Bytes written so far.
    end: usize,
}

impl<'a> PackWriter<'a> {
    pub fn new(file: &'a mut File) -> io::Result<Self> {
        let mut out = BufWriter::with_capacity(1 << 20, file);
        out.write_all(&[0; PIXELS_AT])?;
        Ok(PackWriter { out, end: PIXELS_AT })
    }

    /// Writes the C*H*W values of one image.
    pub fn pixels(&mut self, pixels: &[u8]) -> io::Result<()> {
        self.end += pixels.len();
        self.out.write_all(pixels)
    }

    /// Writes facts and header. The first argument is (C, H, W); the labels are those of the written images.
    pub fn finish(
        mut self,
        (channels, height, width): (usize, usize, usize),
        class_names: &[String],
        [train_labels, test_labels]: [Vec<i64>; 2],
        skipped: Vec<String>,
    ) -> io::Result<()> {
        self.out.flush()?;
        let test_at = PIXELS_AT + train_labels.len() * channels * height * width;
        let fingerprint = {
            // SAFETY: the file is still the temporary one of this writer, which writes to it again after the map has
            // ended.
            let map = MappedFile::new(unsafe { Mmap::map(&**self.out.get_ref()) }?);
            let images = |labels: &[i64], range| Images {
                pixels: Pixels::Mapped(map.slice(range)),
                labels: labels.to_vec(),
                channels,
                height,
                width,
            };
            Fingerprints::of(&images(&train_labels, PIXELS_AT..test_at), &images(&test_labels, test_at..self.end)).all
        };
        let class_names = class_names.to_vec();
        let facts = PackFacts { channels, height, width, class_names, train_labels, test_labels, skipped, fingerprint };
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
