//! A data set as its reader delivers it.

use super::images::{Fingerprints, Images};

/// A data set as it is in its files: `data.num_classes` and `data.debug_subset_size` are not applied yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RawDataset {
    pub train: Images,
    pub test: Images,
    /// The name of class `i` at position `i`.
    pub class_names: Vec<String>,
    /// The fingerprints, if reading has computed them already.
    pub fingerprints: Option<Fingerprints>,
}
