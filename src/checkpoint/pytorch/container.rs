//! The three file formats of PyTorch, told apart by their first bytes.

/// Number of bytes that [`CheckpointContainer::of`] needs.
pub const START: u64 = 512;

/// A file format of PyTorch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CheckpointContainer {
    /// Since PyTorch 1.6.
    Zip,
    /// Pickles and storages one after the other, before PyTorch 1.6.
    Legacy,
    /// A tar archive, PyTorch 0.1.
    Tar,
}

impl CheckpointContainer {
    /// The format of a file that begins with `start`. `None` if PyTorch did not write it.
    pub fn of(start: &[u8]) -> Option<Self> {
        match start {
            // safetensors: a length of eight bytes, whose last ones are zero, then JSON. Its first byte can be any.
            [_, _, _, _, _, 0, 0, 0, b'{', ..] => None,
            [b'P', b'K', 3, 4, ..] => Some(CheckpointContainer::Zip),
            // A pickle of protocol 0 to 5.
            [0x80, version, ..] => (*version <= 5).then_some(CheckpointContainer::Legacy),
            _ if start.get(257..262) == Some(b"ustar") => Some(CheckpointContainer::Tar),
            _ => None,
        }
    }
}
