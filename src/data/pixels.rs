//! The pixels of a data set in host memory: owned, or a file that is mapped and so shared by all processes of a node.

use std::fmt;
use std::fs::File;
use std::io;
use std::ops::{Deref, Range};
use std::sync::Arc;

use memmap2::Mmap;

/// Bytes that are cheap to clone: clones share them.
#[derive(Clone)]
pub enum Pixels {
    Owned(Arc<Vec<u8>>),
    Mapped(Mapped),
}

impl Pixels {
    /// Adds bytes at the end. A mapped file cannot grow: it is copied first.
    pub(super) fn extend(&mut self, bytes: &[u8]) {
        if let Pixels::Mapped(mapped) = self {
            *self = mapped.to_vec().into();
        }
        if let Pixels::Owned(owned) = self {
            Arc::make_mut(owned).extend_from_slice(bytes);
        }
    }

    /// Keeps the first `length` bytes, or all where there are fewer.
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

/// A stretch of a file, mapped read-only. Clones and slices share the map.
#[derive(Clone)]
pub struct Mapped {
    map: Arc<Mmap>,
    range: Range<usize>,
}

impl Mapped {
    /// The whole file, which nobody may write to or shorten while it is mapped: see [`super::pack`].
    pub fn open(file: &File) -> io::Result<Self> {
        // SAFETY: the bytes of a map change under our hands if somebody writes to the file, and are gone (SIGBUS ends
        // the process) if somebody shortens it. The files that we map are packs: written under another name, put in
        // place by a rename when they are complete, and replaced only by a rename again, which leaves this map on the
        // old file. Nothing that regun does opens a pack for writing; their owner's own tools are beyond our reach, as
        // with any program that maps files.
        let map = unsafe { Mmap::map(file)? };
        Ok(Mapped { range: 0..map.len(), map: Arc::new(map) })
    }

    /// `range` counts from the start of this stretch and lies within it.
    pub fn slice(&self, range: Range<usize>) -> Self {
        let start = self.range.start;
        Mapped { map: Arc::clone(&self.map), range: start + range.start..start + range.end }
    }
}

impl Deref for Mapped {
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
    fn owned_and_mapped_are_cut_and_extended_alike() {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&[9, 1, 2, 3, 4, 9]).unwrap();
        let mapped = Pixels::Mapped(Mapped::open(&file).unwrap().slice(1..5));
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
