//! The file format of a pack.
//!
//! | bytes | content |
//! | --- | --- |
//! | 0..8 | `REGUNPK1` |
//! | 8..16, 16..24 | offset and length of the facts, little-endian |
//! | 24..56 | SHA-256 of the facts |
//! | 4096.. | pixels: uint8, N*C*H*W of train, then of test |
//! | the rest | facts, JSON: shape, labels, class names, files left out, fingerprint of pixels and labels |

use serde::{Deserialize, Serialize};

pub(super) const MAGIC: &[u8; 8] = b"REGUNPK1";
/// Offset of the pixels, which begin with a page.
pub(super) const PIXELS_AT: usize = 4096;

/// Everything in a pack but the pixels.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct PackFacts {
    pub channels: usize,
    pub height: usize,
    pub width: usize,
    pub class_names: Vec<String>,
    pub train_labels: Vec<i64>,
    pub test_labels: Vec<i64>,
    /// Files that could not be decoded, each with the reason.
    pub skipped: Vec<String>,
    /// Fingerprint of the pixels and labels.
    pub fingerprint: String,
}
