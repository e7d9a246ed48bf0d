//! SHA-256 as hexadecimal text, for identities and checksums.

use sha2::{Digest, Sha256};

/// The SHA-256 of `data`, 64 lower-case digits.
pub fn sha256(data: impl AsRef<[u8]>) -> String {
    hex(&Sha256::digest(data))
}

/// The bytes as hexadecimal text, two lower-case digits each.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
