//! Resizes to the side of ImageNet networks: a random box of each sample in training, the middle of the whole image in
//! evaluation.
//!
//! torchvision's `RandomResizedCrop(size, scale, ratio)` and `Resize(short side)` with `CenterCrop`, both with
//! antialiased bilinear interpolation rounded to uint8. The arithmetic is that of torchvision on devices for which
//! libtorch interpolates in float32 (GPUs, and CPUs without AVX2). On other CPUs libtorch has an 8-bit shortcut that
//! rounds between the two axes; its results differ by one level in some pixels.

use tch::{Kind, Tensor};

use super::rows::upload;
use super::window::flip_probability;
use crate::config::schema::TransformsConfig;
use crate::error::Result;
use crate::random::Draws;

/// Fraction of the image's area that a box covers.
const SCALE: (f64, f64) = (0.6, 1.0);
/// Width over height of a box.
const RATIO: (f64, f64) = (3.0 / 4.0, 4.0 / 3.0);
/// Number of draws: a box that does not fit is drawn again. After the last one the middle of the image is used.
const TRIES: usize = 10;

/// The box of one sample that becomes its image, in pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cutout {
    pub top: i64,
    pub left: i64,
    pub height: i64,
    pub width: i64,
    /// True if the image is mirrored.
    pub flip: bool,
}

/// The resizing of one configuration and image size.
#[derive(Debug, Clone, PartialEq)]
pub struct Resize {
    /// Sides of the stored images.
    height: i64,
    width: i64,
    /// Side of a training image.
    train_size: i64,
    /// Length of the shorter side after resizing in evaluation.
    eval_resize: i64,
    /// Side of the middle square that evaluation keeps.
    eval_crop: i64,
    flip_probability: f64,
}

impl Resize {
    /// The resizing of stored images with this (height, width).
    pub fn new(transforms: &TransformsConfig, (height, width): (i64, i64)) -> Self {
        let settings = &transforms.imagenet_resize;
        Resize {
            height,
            width,
            train_size: settings.train_size,
            eval_resize: settings.eval_resize,
            eval_crop: settings.eval_crop,
            flip_probability: flip_probability(transforms),
        }
    }

    /// Side of a training image.
    pub fn train_size(&self) -> i64 {
        self.train_size
    }

    /// Draws the box of one training sample, and whether it is mirrored.
    pub fn draw(&self, draws: &mut Draws) -> Cutout {
        let (top, left, height, width) = self.draw_box(draws);
        Cutout { top, left, height, width, flip: draws.uniform() < self.flip_probability }
    }

    fn draw_box(&self, draws: &mut Draws) -> (i64, i64, i64, i64) {
        let image = (self.height * self.width) as f64;
        for _ in 0..TRIES {
            let area = image * draws.between(SCALE.0, SCALE.1);
            let ratio = draws.between(RATIO.0.ln(), RATIO.1.ln()).exp();
            let side = |square: f64| square.sqrt().round_ties_even() as i64;
            let (width, height) = (side(area * ratio), side(area / ratio));
            if (1..=self.width).contains(&width) && (1..=self.height).contains(&height) {
                let offset = |draws: &mut Draws, spare: i64| draws.below(spare as u64 + 1) as i64;
                let top = offset(draws, self.height - height);
                return (top, offset(draws, self.width - width), height, width);
            }
        }
        // The largest box of an allowed ratio, in the middle.
        let ratio = self.width as f64 / self.height as f64;
        let height = if ratio < RATIO.0 { (self.width as f64 / RATIO.0).round_ties_even() as i64 } else { self.height };
        let width = if ratio > RATIO.1 { (self.height as f64 * RATIO.1).round_ties_even() as i64 } else { self.width };
        ((self.height - height) / 2, (self.width - width) / 2, height, width)
    }

    /// uint8 [N, C, H, W] to [N, C, train size, train size].
    pub fn train(&self, pixels: &Tensor, cutouts: &[Cutout]) -> Result<Tensor> {
        let size = self.train_size;
        let columns = cutouts.iter().map(|cutout| {
            let mut taps = taps(cutout.left, cutout.width, size);
            if cutout.flip {
                taps.reverse();
            }
            taps
        });
        let rows = cutouts.iter().map(|cutout| taps(cutout.top, cutout.height, size));
        resample(pixels, &columns.collect::<Vec<_>>(), &rows.collect::<Vec<_>>(), size)
    }

    /// uint8 [N, C, H, W] to [N, C, eval crop, eval crop].
    pub fn eval(&self, pixels: &Tensor) -> Result<Tensor> {
        let short = self.height.min(self.width);
        let middle = |side: i64| {
            let resized = self.eval_resize * side / short;
            let first = ((resized - self.eval_crop) as f64 / 2.0).round_ties_even() as usize;
            taps(0, side, resized)[first..first + self.eval_crop as usize].to_vec()
        };
        resample(pixels, &[middle(self.width)], &[middle(self.height)], self.eval_crop)
    }
}

/// The filter of one output pixel of an axis: the first source pixel, and the weights of it and its successors.
#[derive(Debug, Clone)]
struct Taps {
    first: i64,
    weights: Vec<f32>,
}

/// The filters that resize an axis of `length` pixels, from `start` on, to `size`. Each filter is a triangle as wide as
/// an output pixel, but at least two source pixels. All steps are in float32, as in libtorch's kernel.
fn taps(start: i64, length: i64, size: i64) -> Vec<Taps> {
    let scale = length as f32 / size as f32;
    let (support, inverse) = if scale >= 1.0 { (scale, 1.0 / scale) } else { (1.0, 1.0) };
    let output = |i: i64| {
        let centre = scale * (i as f32 + 0.5);
        let first = ((centre - support + 0.5) as i64).max(0);
        let end = ((centre + support + 0.5) as i64).min(length);
        let triangle = |j: i64| (1.0 - ((j as f32 - centre + 0.5) * inverse).abs()).max(0.0);
        let weights: Vec<f32> = (first..end).map(triangle).collect();
        let total: f32 = weights.iter().sum();
        Taps { first: start + first, weights: weights.into_iter().map(|weight| weight / total).collect() }
    };
    (0..size).map(output).collect()
}

/// uint8 [N, C, H, W] to [N, C, S, S]. `columns` and `rows` have S filters each for every sample, or once for all
/// samples.
fn resample(pixels: &Tensor, columns: &[Vec<Taps>], rows: &[Vec<Taps>], size: i64) -> Result<Tensor> {
    let wide = pixels.f_to_kind(Kind::Float)?.f_transpose(2, 3)?; // [N, C, W, H]
    let narrowed = along_rows(&wide, columns, size)?.f_transpose(2, 3)?; // [N, C, H, S]
    Ok(along_rows(&narrowed, rows, size)?.f_round_()?.f_to_kind(Kind::Uint8)?)
}

/// float32 [N, C, L, M] to [N, C, S, M]: each of S rows is a weighted sum of rows.
///
/// The sum is taken tap by tap instead of as a matrix product. So it is the same in any batch and on any device, with
/// TF32 or without.
fn along_rows(images: &Tensor, outputs: &[Vec<Taps>], size: i64) -> Result<Tensor> {
    let (n, channels, length, row) = images.size4()?;
    let device = images.device();
    let all = || outputs.iter().flatten();
    let shape = [outputs.len() as i64, 1, size, 1];
    let images = images.f_reshape([n * channels * length, row])?;
    let starts = Tensor::f_arange(n * channels, (Kind::Int64, device))?.f_mul_scalar(length)?;
    let starts = starts.f_view([n, channels, 1, 1])?;
    let mut sum = Tensor::f_zeros([n, channels, size, row], (Kind::Float, device))?;
    for tap in 0..all().map(|taps| taps.weights.len()).max().unwrap_or(0) {
        // Filters with fewer taps add their last source again, with weight 0.
        let source = |taps: &Taps| taps.first + tap.min(taps.weights.len() - 1) as i64;
        let weight = |taps: &Taps| taps.weights.get(tap).copied().unwrap_or(0.0);
        let sources = upload(&all().map(source).collect::<Vec<_>>(), device)?.f_view(shape)?;
        let weights = upload(&all().map(weight).collect::<Vec<_>>(), device)?.f_view(shape)?;
        let sources = sources.f_add(&starts)?.f_view([n * channels * size])?;
        let taken = images.f_index_select(0, &sources)?.f_view([n, channels, size, row])?;
        let _same_tensor = sum.f_addcmul_(&taken, &weights)?;
    }
    Ok(sum)
}
