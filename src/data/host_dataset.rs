//! A data set in host memory, ready for splitting.

use std::collections::HashSet;

use super::images::Images;

/// A data set in host memory, ready for splitting.
#[derive(Debug, Clone)]
pub struct Dataset {
    /// The value of `data.name`; also part of file names.
    pub name: String,
    pub train: Images,
    pub test: Images,
    /// `data.num_classes`: every label is below it.
    pub num_classes: usize,
    /// SHA-256 (hex) over shapes, labels and pixels of train and test, after `data.debug_subset_size` is applied. Two
    /// data sets with one fingerprint hold the same data.
    pub fingerprint: String,
    pub class_names: Vec<String>,
}

/// Number of test images that are, pixel for pixel, among the training images. Accuracy on those does not measure
/// generalisation, and they weaken an attack that compares train with test.
pub fn count_test_images_in_train(dataset: &Dataset) -> usize {
    let train: HashSet<&[u8]> = dataset.train.iter().collect();
    dataset.test.iter().filter(|image| train.contains(image)).count()
}
