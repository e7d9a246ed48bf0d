//! Decoded images with their labels, in host memory.

use sha2::{Digest, Sha256};

use super::pixels::Pixels;
use crate::digest::hex;

/// Decoded images with their labels.
///
/// Letters: N images, C channels, H height, W width.
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
    /// No images yet, but room for `n` images of this shape.
    pub(super) fn with_capacity(n: usize, channels: usize, height: usize, width: usize) -> Self {
        let pixels: Vec<u8> = Vec::with_capacity(n * channels * height * width);
        Images { pixels: pixels.into(), labels: Vec::with_capacity(n), channels, height, width }
    }

    /// Adds an image of C*H*W values.
    pub(super) fn push(&mut self, label: i64, pixels: &[u8]) {
        self.labels.push(label);
        self.pixels.extend(pixels);
    }

    /// Number of images.
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

    /// The pixels of each image, C*H*W values.
    pub fn iter(&self) -> impl Iterator<Item = &[u8]> {
        self.pixels.chunks_exact(self.image_len().max(1))
    }

    /// Keeps the first `n` images, or all if there are fewer.
    pub(super) fn truncate(&mut self, n: usize) {
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

/// Fingerprints of a data set: SHA-256 (hex) over shapes, labels and pixels. Two data sets with one fingerprint hold
/// the same data.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Fingerprints {
    /// Of the training and the test set.
    pub all: String,
    /// Of the training set: the fingerprint that the data set has while its test set is missing.
    pub train: String,
}

impl Fingerprints {
    pub(super) fn of(train: &Images, test: &Images) -> Self {
        let mut hasher = Sha256::new();
        train.hash(&mut hasher);
        let mut alone = hasher.clone();
        Images { labels: Vec::new(), pixels: Vec::new().into(), ..*train }.hash(&mut alone);
        test.hash(&mut hasher);
        Fingerprints { all: hex(&hasher.finalize()), train: hex(&alone.finalize()) }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// Images of 2x2 pixels with these labels.
    pub fn images(labels: &[i64]) -> Images {
        let pixels: Vec<u8> = labels.iter().flat_map(|&label| [label as u8, 1, 2, 3]).collect();
        Images { pixels: pixels.into(), labels: labels.to_vec(), channels: 1, height: 2, width: 2 }
    }

    #[test]
    fn the_fingerprint_depends_on_labels_pixels_shape_and_part() {
        let fingerprint = |train: &Images, test: &Images| Fingerprints::of(train, test).all;
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
    fn the_fingerprint_of_the_training_set_is_that_of_a_set_without_test_images() {
        let whole = Fingerprints::of(&images(&[0, 1]), &images(&[2]));
        let alone = Fingerprints::of(&images(&[0, 1]), &images(&[]));
        assert_eq!((&alone.all, &alone.train), (&whole.train, &whole.train));
        assert_ne!(whole.all, whole.train);
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
