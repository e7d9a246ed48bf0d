//! A data set in host memory, ready for splitting.

use std::collections::HashSet;

use super::images::{Fingerprints, Images};
use crate::error::Error;

/// A data set in host memory, ready for splitting.
#[derive(Debug, Clone)]
pub struct Dataset {
    /// The value of `data.name`; also part of file names.
    pub name: String,
    pub train: Images,
    pub test: Images,
    /// `data.num_classes`: every label is below it.
    pub num_classes: usize,
    /// Fingerprints after `data.debug_subset_size` is applied.
    pub fingerprints: Fingerprints,
    pub class_names: Vec<String>,
    /// The reason why there are no test images; `None` if there are.
    pub no_test: Option<Error>,
}

/// Number of test images that are, pixel for pixel, among the training images. Accuracy on those does not measure
/// generalisation, and they weaken an attack that compares train with test.
pub fn count_test_images_in_train(dataset: &Dataset) -> usize {
    let train: HashSet<&[u8]> = dataset.train.iter().collect();
    dataset.test.iter().filter(|image| train.contains(image)).count()
}
