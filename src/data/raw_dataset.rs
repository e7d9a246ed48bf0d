//! A data set as its reader delivers it.

use super::images::Images;

/// A data set as it is in its files: `data.num_classes` and `data.debug_subset_size` are not applied yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RawDataset {
    pub train: Images,
    pub test: Images,
    /// The name of class `i` at position `i`.
    pub class_names: Vec<String>,
    /// The fingerprint of train and test (see `Dataset::fingerprint`), if reading has computed it already.
    pub fingerprint: Option<String>,
}
