//! The index sets of a split.

use crate::digest::sha256;

/// Disjoint index sets that together cover the training images. Every list is sorted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SplitIndices {
    pub retain: Vec<usize>,
    pub forget: Vec<usize>,
    /// Never trained on. ReGUn draws its references from these images.
    pub heldout: Vec<usize>,
    pub val: Vec<usize>,
    /// As many retain indices as there are forget indices, or all of them if there are fewer.
    pub retain_subset: Vec<usize>,
    /// Warnings for the log, one line each.
    pub warnings: Vec<String>,
}

impl SplitIndices {
    /// The training set of the base model: retain and forget, sorted.
    pub fn train(&self) -> Vec<usize> {
        let mut train = [self.retain.as_slice(), &self.forget].concat();
        train.sort_unstable();
        train
    }

    /// The sizes of the parts, for messages.
    pub(super) fn sizes(&self) -> String {
        format!(
            "held-out {}, validation {}, forget {}, retain {}",
            self.heldout.len(),
            self.val.len(),
            self.forget.len(),
            self.retain.len()
        )
    }
}

/// SHA-256 (hex) of the decimal indices joined by commas. It tells if two programs have the same part.
pub fn digest(part: &[usize]) -> String {
    let text: Vec<String> = part.iter().map(usize::to_string).collect();
    sha256(text.join(","))
}
