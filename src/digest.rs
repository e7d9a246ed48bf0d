//! SHA-256 as hexadecimal text, for identities and checksums.

use sha2::{Digest, Sha256};

/// Of one piece of data.
pub fn sha256(data: impl AsRef<[u8]>) -> String {
    hex(&Sha256::digest(data))
}

/// Two lower-case digits per byte.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
