//! Published checksums.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use md5::Md5;
use sha2::{Digest, Sha256};

use crate::digest::hex;
use crate::error::{Error, Result};

/// A published checksum, in lower-case hexadecimal digits.
#[derive(Debug, Clone, Copy)]
pub enum Checksum<'a> {
    Md5(&'a str),
    /// All digits, or the first ones if no more are published (PyTorch's file names have eight).
    Sha256(&'a str),
}

impl Checksum<'_> {
    /// Compares the file at `path`: `None` if it has this checksum, else a text with both checksums.
    pub(super) fn difference(&self, path: &Path) -> Result<Option<String>> {
        let (name, wanted, got) = match self {
            Checksum::Md5(wanted) => ("md5", wanted, hash::<Md5>(path)?),
            Checksum::Sha256(wanted) => ("sha256", wanted, hash::<Sha256>(path)?),
        };
        Ok((!got.starts_with(wanted)).then(|| {
            let more = if wanted.len() < got.len() { "..." } else { "" };
            format!("got {name} {got}, wanted {wanted}{more}")
        }))
    }
}

fn hash<D: Digest>(path: &Path) -> Result<String> {
    let unreadable = |source| Error::storage("cannot read", path, &source);
    let mut file = File::open(path).map_err(unreadable)?;
    let (mut hasher, mut buffer) = (D::new(), vec![0; 1 << 17]);
    loop {
        match file.read(&mut buffer).map_err(unreadable)? {
            0 => return Ok(hex(&hasher.finalize())),
            got => hasher.update(&buffer[..got]),
        }
    }
}
