//! The pixels of a data set in host memory: owned bytes, or a mapped file, which all processes of a node share.

use std::fmt;
use std::ops::{Deref, Range};
use std::sync::Arc;

use memmap2::Mmap;

/// Bytes that are cheap to clone: clones share them.
#[derive(Clone)]
pub enum Pixels {
    Owned(Arc<Vec<u8>>),
    Mapped(MappedFile),
}

impl Pixels {
    /// Appends bytes. A mapped file cannot grow, so it is copied first.
    pub(super) fn extend(&mut self, bytes: &[u8]) {
        if let Pixels::Mapped(mapped) = self {
            *self = mapped.to_vec().into();
        }
        if let Pixels::Owned(owned) = self {
            Arc::make_mut(owned).extend_from_slice(bytes);
        }
    }

    /// Keeps the first `length` bytes, or all if there are fewer.
    pub(super) fn truncate(&mut self, length: usize) {
        match self {
            Pixels::Owned(owned) => Arc::make_mut(owned).truncate(length),
            Pixels::Mapped(mapped) => *mapped = mapped.slice(0..length.min(mapped.len())),
        }
    }
}

impl Deref for Pixels {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Pixels::Owned(owned) => owned,
            Pixels::Mapped(mapped) => mapped,
        }
    }
}

impl From<Vec<u8>> for Pixels {
    fn from(bytes: Vec<u8>) -> Self {
        Pixels::Owned(Arc::new(bytes))
    }
}

impl PartialEq for Pixels {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl Eq for Pixels {}

impl fmt::Debug for Pixels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = if matches!(self, Pixels::Owned(_)) { "owned" } else { "mapped" };
        write!(f, "{} {kind} bytes", self.len())
    }
}

/// A range of bytes of a file, mapped read-only. Clones and slices share the map.
#[derive(Clone)]
pub struct MappedFile {
    map: Arc<Mmap>,
    range: Range<usize>,
}

impl MappedFile {
    /// The whole of a mapped file.
    pub fn new(map: Mmap) -> Self {
        MappedFile { range: 0..map.len(), map: Arc::new(map) }
    }

    /// A part of this range. `range` counts from its start and must lie within it.
    pub fn slice(&self, range: Range<usize>) -> Self {
        let start = self.range.start;
        MappedFile { map: Arc::clone(&self.map), range: start + range.start..start + range.end }
    }
}

impl Deref for MappedFile {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.map[self.range.clone()]
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn owned_and_mapped_pixels_truncate_and_extend_in_the_same_way() {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&[9, 1, 2, 3, 4, 9]).unwrap();
        // SAFETY: the file has no name, so nobody else can write to it.
        let map = unsafe { Mmap::map(&file) }.unwrap();
        let mapped = Pixels::Mapped(MappedFile::new(map).slice(1..5));
        for mut pixels in [mapped, Pixels::from(vec![1, 2, 3, 4])] {
            let before = pixels.clone();
            pixels.truncate(9);
            assert_eq!(pixels[..], [1, 2, 3, 4]);
            pixels.truncate(2);
            assert_eq!(pixels[..], [1, 2]);
            pixels.extend(&[7]);
            assert_eq!(pixels[..], [1, 2, 7]);
            assert_eq!(before[..], [1, 2, 3, 4]);
        }
    }
}
