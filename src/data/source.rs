//! A data set in host memory, and where each one comes from.
//!
//! Letters: N images, C channels, H height, W width.

use std::collections::HashSet;

use sha2::{Digest, Sha256};

use super::{cifar, digits};
use crate::config::schema::{Data, DatasetName};
use crate::digest::hex;
use crate::error::{Error, Result};

/// Decoded images with their classes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Images {
    /// N*C*H*W values from 0 to 255, row-major.
    pub pixels: Vec<u8>,
    /// N classes, counted from 0.
    pub labels: Vec<i64>,
    pub channels: usize,
    pub height: usize,
    pub width: usize,
}

impl Images {
    /// No images yet, and room for `n` of this shape.
    pub(super) fn with_capacity(n: usize, channels: usize, height: usize, width: usize) -> Self {
        let pixels = Vec::with_capacity(n * channels * height * width);
        Images { pixels, labels: Vec::with_capacity(n), channels, height, width }
    }

    /// N.
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    pub fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }

    /// Bytes of one image: C*H*W.
    pub fn image_len(&self) -> usize {
        self.channels * self.height * self.width
    }

    /// The images one by one, C*H*W values each.
    pub fn iter(&self) -> impl Iterator<Item = &[u8]> {
        self.pixels.chunks_exact(self.image_len().max(1))
    }

    /// Keeps the first `n` images, or all where there are fewer.
    fn truncate(&mut self, n: usize) {
        self.pixels.truncate(n.saturating_mul(self.image_len()));
        self.labels.truncate(n);
    }

    fn hash(&self, hasher: &mut Sha256) {
        for size in [self.len(), self.channels, self.height, self.width] {
            hasher.update((size as u64).to_le_bytes());
        }
        for label in &self.labels {
            hasher.update(label.to_le_bytes());
        }
        hasher.update(&self.pixels);
    }
}

/// What a source delivers, before any setting but its place is looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    pub train: Images,
    pub test: Images,
    /// The name of class `i` at place `i`.
    pub class_names: Vec<String>,
}

/// A data set ready for splitting.
#[derive(Debug, Clone)]
pub struct Dataset {
    /// As in `data.name`, and in file names.
    pub name: String,
    pub train: Images,
    pub test: Images,
    /// `data.num_classes`: every label is below it.
    pub num_classes: usize,
    /// SHA-256 (hex) over shapes, labels and pixels of train and test, as they are here: two data sets with one
    /// fingerprint are the same data.
    pub fingerprint: String,
    pub class_names: Vec<String>,
}

/// Loads `data.name`, cut to `data.debug_subset_size`.
///
/// Fails where files are missing or damaged, and where `data.num_classes` does not cover the labels.
pub fn load(data: &Data) -> Result<Dataset> {
    let name = name(data.name);
    let Source { mut train, mut test, class_names } = match data.name {
        DatasetName::Digits => digits::load(),
        DatasetName::Cifar10 => cifar::load(&data.data_dir, &cifar::CIFAR10, data.download)?,
        DatasetName::Cifar100 | DatasetName::TinyImagenet | DatasetName::ImageFolder => {
            return Err(Error::usage(format!("data.name={name} is not supported by this version"))
                .hint("data sets that are: digits, cifar10"));
        }
    };
    if let Some(n) = data.debug_subset_size {
        if n == 0 {
            return Err(Error::usage("data.debug_subset_size is 0, wanted at least 1 image")
                .hint("data.debug_subset_size=null uses all images"));
        }
        train.truncate(n);
        test.truncate(n);
    }
    let num_classes = check_classes(data.num_classes, name, &train, &test)?;
    let fingerprint = fingerprint(&train, &test);
    Ok(Dataset { name: name.to_string(), train, test, num_classes, fingerprint, class_names })
}

/// The name of a data set as it is typed and as it stands in file names.
pub fn name(dataset: DatasetName) -> &'static str {
    match dataset {
        DatasetName::Digits => "digits",
        DatasetName::Cifar10 => "cifar10",
        DatasetName::Cifar100 => "cifar100",
        DatasetName::TinyImagenet => "tiny_imagenet",
        DatasetName::ImageFolder => "image_folder",
    }
}

/// How many test images are, pixel for pixel, among the training images: what is learnt from those is not
/// generalisation, and an attack that compares train with test is blunted by them.
pub fn count_test_images_in_train(dataset: &Dataset) -> usize {
    let train: HashSet<&[u8]> = dataset.train.iter().collect();
    dataset.test.iter().filter(|image| train.contains(image)).count()
}

fn check_classes(num_classes: i64, name: &str, train: &Images, test: &Images) -> Result<usize> {
    let largest = train.labels.iter().chain(&test.labels).copied().max().unwrap_or(0);
    match usize::try_from(num_classes) {
        Ok(count) if num_classes > largest => Ok(count),
        _ => Err(Error::usage(format!(
            "data.num_classes is {num_classes}, but the labels of {name} go up to {largest}: wanted at least {}",
            largest + 1
        ))
        .hint("leave data.num_classes to the data group, or set it to the number of classes")),
    }
}

fn fingerprint(train: &Images, test: &Images) -> String {
    let mut hasher = Sha256::new();
    train.hash(&mut hasher);
    test.hash(&mut hasher);
    hex(&hasher.finalize())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn images(labels: &[i64]) -> Images {
        let pixels = labels.iter().flat_map(|&label| [label as u8, 1, 2, 3]).collect();
        Images { pixels, labels: labels.to_vec(), channels: 1, height: 2, width: 2 }
    }

    #[test]
    fn fingerprint_sees_labels_pixels_shape_and_part() {
        let base = fingerprint(&images(&[0, 1]), &images(&[2]));
        let mut relabelled = images(&[0, 1]);
        relabelled.labels[0] = 1;
        let mut repainted = images(&[0, 1]);
        repainted.pixels[7] ^= 1;
        let mut reshaped = images(&[0, 1]);
        (reshaped.height, reshaped.width) = (1, 4);
        for other in [relabelled, repainted, reshaped] {
            assert_ne!(fingerprint(&other, &images(&[2])), base);
        }
        assert_ne!(fingerprint(&images(&[0]), &images(&[1, 2])), base);
        assert_eq!(fingerprint(&images(&[0, 1]), &images(&[2])), base);
    }

    #[test]
    fn classes_must_be_covered() {
        assert_eq!(check_classes(3, "x", &images(&[0, 1]), &images(&[2])).unwrap(), 3);
        assert_eq!(check_classes(7, "x", &images(&[0, 1]), &images(&[2])).unwrap(), 7);
        for too_few in [2, 0, -1] {
            let error = check_classes(too_few, "x", &images(&[0, 1]), &images(&[2])).unwrap_err();
            assert!(error.message().contains("at least 3"), "{error}");
        }
    }

    #[test]
    fn truncation_keeps_the_first_or_all() {
        let mut cut = images(&[4, 5, 6]);
        cut.truncate(2);
        assert_eq!(cut, images(&[4, 5]));
        cut.truncate(usize::MAX);
        assert_eq!(cut, images(&[4, 5]));
    }
}
