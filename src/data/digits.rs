//! The UCI handwritten digits. They are part of the program, so they need no download.
//!
//! These are the 1,797 images of the test part (`optdigits.tes`) of "Optical Recognition of Handwritten Digits", in
//! the order of that file: 8x8 pixels with values 0 to 16, each the number of set pixels in a 4x4 block of a 32x32
//! bitmap, by 13 writers. E. Alpaydin and C. Kaynak (1998), UCI Machine Learning Repository,
//! <https://doi.org/10.24432/C50P49>, licensed CC BY 4.0 (<https://creativecommons.org/licenses/by/4.0/>). Changes
//! made here: `make_digits.py` packs them; loading scales the values to 0..=255 and copies them to three channels, so
//! that networks for colour images take them.

use super::images::Images;
use super::raw_dataset::RawDataset;

/// Per image one byte for the class and 64 bytes of pixels.
static PACKED: &[u8] = include_bytes!("digits.bin");
const SIDE: usize = 8;
const RECORD: usize = 1 + SIDE * SIDE;
/// Value of a block with all pixels set.
const FULL: u16 = 16;
const CHANNELS: usize = 3;

/// 1,438 training and 359 test images, 3x8x8, 10 classes; every fifth image (i % 5 == 4) is a test image.
pub fn load() -> RawDataset {
    let empty = || Images::with_capacity(PACKED.len() / RECORD, CHANNELS, SIDE, SIDE);
    let mut parts = [empty(), empty()];
    for (i, record) in PACKED.chunks_exact(RECORD).enumerate() {
        let part = &mut parts[usize::from(i % 5 == 4)];
        let grey: Vec<u8> = record[1..].iter().map(|&ink| scaled(ink)).collect();
        part.push(i64::from(record[0]), &grey.repeat(CHANNELS));
    }
    let [train, test] = parts;
    let class_names = (0..10).map(|digit| digit.to_string()).collect();
    RawDataset { train, test, class_names, fingerprints: None }
}

/// round(ink * 255 / 16)
fn scaled(ink: u8) -> u8 {
    ((u16::from(ink) * 255 + FULL / 2) / FULL) as u8
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Statistics of the training pixels in units of [0, 1], the same as in `conf/data/digits.yaml`.
    const MEAN: f64 = 0.3058552097821048;
    const STD: f64 = 0.3762791251918089;

    #[test]
    fn the_set_has_its_published_sizes_and_classes() {
        assert_eq!(PACKED.len(), 1797 * RECORD);
        let RawDataset { train, test, .. } = load();
        assert_eq!((train.len(), test.len()), (1438, 359));
        assert_eq!(train.pixels.len(), 1438 * 3 * 64);
        // The first five images of the UCI file are 0, 1, 2, 3 and 4.
        assert_eq!((&train.labels[..4], test.labels[0]), (&[0, 1, 2, 3][..], 4));
        let mut counts = [0; 10];
        for &label in train.labels.iter().chain(&test.labels) {
            counts[label as usize] += 1;
        }
        assert_eq!(counts, [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]);
    }

    #[test]
    fn pixels_fill_the_range_in_all_channels() {
        assert_eq!([0, 1, 8, 15, 16].map(scaled), [0, 16, 128, 239, 255]);
        let RawDataset { train, .. } = load();
        for image in train.iter() {
            assert_eq!(image[..64], image[64..128]);
            assert_eq!(image[..64], image[128..]);
        }
        let (mean, std) = statistics(&train.pixels);
        assert!((mean - MEAN).abs() < 1e-12 && (std - STD).abs() < 1e-12, "mean {mean}, std {std}");
    }

    fn statistics(pixels: &[u8]) -> (f64, f64) {
        let n = pixels.len() as f64;
        let mean = pixels.iter().map(|&v| f64::from(v)).sum::<f64>() / n;
        let variance = pixels.iter().map(|&v| (f64::from(v) - mean).powi(2)).sum::<f64>() / n;
        (mean / 255.0, variance.sqrt() / 255.0)
    }
}
