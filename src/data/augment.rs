//! Pixels to network input: crop, flip and normalise whole batches on their device.
//!
//! Semantics are torchvision v2's (`RandomCrop(size, padding)`, `RandomHorizontalFlip(p)`, `ToDtype(scale)`,
//! `Normalize`). A sample's draws depend only on the stream (seed and purpose), the epoch and the sample's index in the
//! data set, so neither batch nor rank changes them.
//!
//! Letters: N batch, C channel, H and W input sides, S side of the crop.

use tch::{Kind, Tensor};

use crate::config::schema::{Normalize, Transforms};
use crate::error::{Error, Result};
use crate::random::Stream;
use crate::torch::{to_channels_last, upload};

/// Which pipeline a batch goes through.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum View {
    /// Random crop and flip, then normalise.
    Train,
    /// Normalise only.
    Eval,
}

/// Who the samples of a batch are, for their random draws.
pub struct SampleKeys<'a> {
    pub stream: &'a Stream,
    pub epoch: u64,
    /// Index in the data set, one per image of the batch.
    pub samples: &'a [usize],
}

/// The transforms of one data set, ready to run.
pub struct Augment {
    crop: Option<Crop>,
    flip_probability: f64,
    mean: Tensor,
    std: Tensor,
    kind: Kind,
}

struct Crop {
    size: i64,
    padding: i64,
}

impl Augment {
    /// `height` and `width` of the stored images; output in `kind` on `device`.
    pub fn new(
        transforms: &Transforms,
        (height, width): (usize, usize),
        kind: Kind,
        device: tch::Device,
    ) -> Result<Self> {
        for (key, enabled) in [
            ("imagenet_resize", transforms.imagenet_resize.enabled),
            ("color_jitter", transforms.color_jitter.as_ref().is_some_and(|t| t.enabled)),
            ("randaugment", transforms.randaugment.as_ref().is_some_and(|t| t.enabled)),
            ("random_erasing", transforms.random_erasing.as_ref().is_some_and(|t| t.enabled)),
        ] {
            if enabled {
                return Err(Error::usage(format!(
                    "data.transforms.{key}.enabled=true: this transform is not built yet"
                ))
                .hint(format!("switch it off with data.transforms.{key}.enabled=false")));
            }
        }
        let crop = &transforms.random_crop;
        if crop.enabled {
            for (side, name) in [(height, "height"), (width, "width")] {
                if crop.size > side as i64 + 2 * crop.padding {
                    return Err(Error::usage(format!(
                        "data.transforms.random_crop.size={}: larger than the padded image ({name} {side} + 2 x {})",
                        crop.size, crop.padding
                    )));
                }
            }
        }
        let flip = &transforms.horizontal_flip;
        let Normalize { mean, std } = &transforms.normalize;
        let per_channel =
            |values: &[f64]| Tensor::from_slice(values).view([1, -1, 1, 1]).to_device(device).to_kind(kind);
        Ok(Augment {
            crop: crop.enabled.then_some(Crop { size: crop.size, padding: crop.padding }),
            flip_probability: if flip.enabled { flip.p } else { 0.0 },
            mean: per_channel(mean),
            std: per_channel(std),
            kind,
        })
    }

    /// What a black and what a white pixel are normalised to, [1, C, 1, 1] each.
    pub fn bounds(&self) -> (Tensor, Tensor) {
        (-&self.mean / &self.std, (1.0 - &self.mean) / &self.std)
    }

    /// uint8 [N, C, H, W] to normalised [N, C, H, W], channels-last.
    pub fn eval(&self, pixels: &Tensor) -> Result<Tensor> {
        self.normalise(pixels)
    }

    /// uint8 [N, C, H, W] to normalised [N, C, S, S], channels-last, cropped and flipped by the draws of `keys`.
    pub fn train(&self, pixels: &Tensor, keys: &SampleKeys<'_>) -> Result<Tensor> {
        if self.crop.is_none() && self.flip_probability == 0.0 {
            return self.normalise(pixels);
        }
        let (n, _, h, w) = size4(pixels);
        let (padding, out_h, out_w) = match &self.crop {
            Some(crop) => (crop.padding, crop.size, crop.size),
            None => (0, h, w),
        };
        let (spare_h, spare_w) = (h + 2 * padding - out_h, w + 2 * padding - out_w);
        let mut top = Vec::with_capacity(keys.samples.len());
        let mut left = Vec::with_capacity(keys.samples.len());
        let mut flip = Vec::with_capacity(keys.samples.len());
        for &sample in keys.samples {
            let mut draws = keys.stream.at(keys.epoch, sample as u64);
            top.push(draws.below(spare_h as u64 + 1) as i64);
            left.push(draws.below(spare_w as u64 + 1) as i64);
            flip.push(draws.uniform() < self.flip_probability);
        }
        let device = pixels.device();
        let column = |values: Tensor| Ok::<_, Error>(upload(&values, device)?.f_view([n, 1])?);
        let (top, left) = (column(Tensor::f_from_slice(&top)?)?, column(Tensor::f_from_slice(&left)?)?);
        let flip = column(Tensor::f_from_slice(&flip)?)?;

        let rows = top + Tensor::arange(out_h, (Kind::Int64, device)); // [N, S]
        let forward = Tensor::arange(out_w, (Kind::Int64, device)).expand([n, out_w], false);
        let columns = left + forward.where_self(&flip.logical_not(), &(out_w - 1 - &forward)); // [N, S]
        let padded = pixels.constant_pad_nd([padding, padding, padding, padding]);
        let source = rows.unsqueeze(2) * (w + 2 * padding) + columns.unsqueeze(1); // [N, S, S] into H*W
        let channels = padded.size()[1];
        let cropped = padded
            .view([n, channels, padded.size()[2] * padded.size()[3]]) // spelt out: n may be 0
            .gather(2, &source.view([n, 1, out_h * out_w]).expand([n, channels, out_h * out_w], false), false)
            .view([n, channels, out_h, out_w]);
        self.normalise(&cropped)
    }

    /// The operations are torchvision's to the last bit: multiply by 1/255, subtract the mean, divide by the spread.
    fn normalise(&self, pixels: &Tensor) -> Result<Tensor> {
        let scaled = to_channels_last(pixels)?.to_kind(self.kind) * (1.0 / 255.0);
        Ok((scaled - &self.mean) / &self.std)
    }
}

fn size4(t: &Tensor) -> (i64, i64, i64, i64) {
    let s = t.size();
    (s[0], s[1], s[2], s[3])
}
