//! A data set in host memory, and where each one comes from.
//!
//! Letters: N images, C channels, H height, W width.

use std::collections::HashSet;
use std::path::Path;

use sha2::{Digest, Sha256};

use super::listing::Listing;
use super::pixels::Pixels;
use super::{cifar, digits, image_folder, pack, tiny_imagenet};
use crate::config::schema::{DataConfig, DatasetName};
use crate::digest::hex;
use crate::error::{Error, Result};

/// Decoded images with their classes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Images {
    /// N*C*H*W values from 0 to 255, row-major.
    pub pixels: Pixels,
    /// N classes, counted from 0.
    pub labels: Vec<i64>,
    pub channels: usize,
    pub height: usize,
    pub width: usize,
}

impl Images {
    /// No images yet, and room for `n` of this shape.
    pub(super) fn with_capacity(n: usize, channels: usize, height: usize, width: usize) -> Self {
        let pixels: Vec<u8> = Vec::with_capacity(n * channels * height * width);
        Images { pixels: pixels.into(), labels: Vec::with_capacity(n), channels, height, width }
    }

    /// Adds an image of C*H*W values.
    pub(super) fn push(&mut self, label: i64, pixels: &[u8]) {
        self.labels.push(label);
        self.pixels.extend(pixels);
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
        hasher.update(&*self.pixels);
    }
}

/// What a source delivers, before any setting but its place is looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    pub train: Images,
    pub test: Images,
    /// The name of class `i` at place `i`.
    pub class_names: Vec<String>,
    /// As in [`Dataset`], where it is known already.
    pub fingerprint: Option<String>,
}

/// What loading may use.
#[derive(Debug, Clone, Copy)]
pub struct LoadOptions<'a> {
    /// Where packs of images go that cannot lie beside them.
    pub cache_dir: &'a Path,
    /// Threads that decode.
    pub threads: usize,
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

/// Loads `data.name`, cut to `data.debug_subset_size`. Image files are packed first where they are not yet, all of them.
///
/// Fails where files are missing or damaged, and where `data.num_classes` does not fit.
pub fn load(data: &DataConfig, options: LoadOptions<'_>) -> Result<Dataset> {
    let name = data.name.name();
    if data.image_size.is_some() && !is_made_of_files(data.name) {
        return Err(Error::usage(format!("data.image_size: the images of {name} have one size"))
            .hint("use data.image_size=null"));
    }
    let Source { mut train, mut test, class_names, fingerprint: known } = match data.name {
        DatasetName::Digits => digits::load(),
        DatasetName::Cifar10 => cifar::load(&data.data_dir, &cifar::CIFAR10, data.download)?,
        DatasetName::Cifar100 => cifar::load(&data.data_dir, &cifar::CIFAR100, data.download)?,
        DatasetName::TinyImagenet => packed(tiny_imagenet::list(&data.data_dir)?, data, options)?,
        DatasetName::ImageFolder => packed(image_folder::list(&data.data_dir)?, data, options)?,
    };
    let whole = (train.len(), test.len());
    if let Some(n) = data.debug_subset_size {
        if n == 0 {
            return Err(Error::usage("data.debug_subset_size is 0, wanted at least 1 image")
                .hint("data.debug_subset_size=null uses all images"));
        }
        train.truncate(n);
        test.truncate(n);
    }
    let num_classes = check_classes(data.num_classes, name, &train, &test)?;
    let known = known.filter(|_| (train.len(), test.len()) == whole);
    let fingerprint = known.unwrap_or_else(|| fingerprint(&train, &test));
    Ok(Dataset { name: name.to_string(), train, test, num_classes, fingerprint, class_names })
}

fn is_made_of_files(dataset: DatasetName) -> bool {
    matches!(dataset, DatasetName::TinyImagenet | DatasetName::ImageFolder)
}

/// The images of a tree of files, whose classes `data.num_classes` must count.
fn packed(listing: Listing, data: &DataConfig, options: LoadOptions<'_>) -> Result<Source> {
    let classes = listing.class_names.len();
    if data.num_classes != classes as i64 {
        return Err(Error::usage(format!(
            "data.num_classes is {}, but there are {classes} class folders in {}",
            data.num_classes,
            listing.root.join("train").display()
        ))
        .hint(format!("set data.num_classes={classes}")));
    }
    let settings = pack::Settings {
        name: data.name.name(),
        image_size: data.image_size,
        skip_corrupt: data.skip_corrupt,
        cache_dir: options.cache_dir,
        threads: options.threads,
    };
    pack::load(&listing, &settings)
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

/// SHA-256 (hex) over shapes, labels and pixels.
pub(super) fn fingerprint(train: &Images, test: &Images) -> String {
    let mut hasher = Sha256::new();
    train.hash(&mut hasher);
    test.hash(&mut hasher);
    hex(&hasher.finalize())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn images(labels: &[i64]) -> Images {
        let pixels: Vec<u8> = labels.iter().flat_map(|&label| [label as u8, 1, 2, 3]).collect();
        Images { pixels: pixels.into(), labels: labels.to_vec(), channels: 1, height: 2, width: 2 }
    }

    #[test]
    fn fingerprint_sees_labels_pixels_shape_and_part() {
        let base = fingerprint(&images(&[0, 1]), &images(&[2]));
        let mut relabelled = images(&[0, 1]);
        relabelled.labels[0] = 1;
        let mut repainted = images(&[0, 1]);
        repainted.pixels = vec![0, 1, 2, 3, 1, 1, 2, 2].into();
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
