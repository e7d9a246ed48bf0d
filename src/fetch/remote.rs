//! A published file.

use super::checksum::Checksum;

/// A published file: its address, size and checksum.
#[derive(Debug, Clone, Copy)]
pub struct Remote<'a> {
    /// The address. The last part of its path is the file's name: at the address, on a mirror and in the local folder.
    pub url: &'a str,
    /// Size in bytes, if it is published.
    pub bytes: Option<u64>,
    pub checksum: Checksum<'a>,
}

impl<'a> Remote<'a> {
    /// Name of the file.
    pub fn name(&self) -> &'a str {
        self.url.rsplit('/').next().unwrap_or(self.url)
    }
}
