//! The whole data set as tensors, and which of its samples play which part.

use tch::{Device, Kind, Tensor};

use super::augment::Augment;
use super::pixel_placement;
use super::source::{Dataset, Images};
use super::split::SplitIndices;
use crate::config::schema as config;
use crate::error::Result;
use crate::random::SampleKeys;
use crate::torch::{tensor_over, to_channels_last, upload};

/// A part of the data, by what it is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Part {
    Retain,
    Forget,
    /// Retain and forget together: what the base model trains on.
    Train,
    /// As many retain samples as there are forget samples.
    RetainSubset,
    /// Disjoint from all training data: ReGUn's reference images.
    HeldOut,
    Val,
    Test,
}

impl Part {
    pub fn name(self) -> &'static str {
        match self {
            Part::Retain => "retain",
            Part::Forget => "forget",
            Part::Train => "train",
            Part::RetainSubset => "retain_subset",
            Part::HeldOut => "heldout",
            Part::Val => "val",
            Part::Test => "test",
        }
    }
}

/// Images with their labels, on the rank's device; the pixels stay in host memory where they do not fit there. uint8,
/// unless they are network input already.
pub struct DeviceImages {
    /// [N, C, H, W]. Only ever read: in host memory it may be a file that is mapped.
    pixels: Tensor,
    /// int64 [N] on the rank's device.
    labels: Tensor,
    host_labels: Vec<i64>,
}

impl DeviceImages {
    /// `pixels` [N, C, H, W], one label per image.
    pub fn new(pixels: Tensor, labels: Vec<i64>) -> Self {
        DeviceImages { labels: Tensor::from_slice(&labels).to_device(pixels.device()), pixels, host_labels: labels }
    }

    /// In host memory the pixels are those of `images`, not a copy.
    fn place(images: &Images, pixels_on: Device, device: Device) -> Result<Self> {
        let shape = [images.labels.len(), images.channels, images.height, images.width].map(|side| side as i64);
        Ok(DeviceImages {
            pixels: tensor_over(images.pixels.clone(), &shape)?.f_to_device(pixels_on)?,
            labels: Tensor::from_slice(&images.labels).f_to_device(device)?,
            host_labels: images.labels.clone(),
        })
    }

    pub fn labels(&self) -> &[i64] {
        &self.host_labels
    }
}

/// Everything a run knows about its data: the resident sets, the roles, and the transforms.
pub struct DeviceDataset {
    train: DeviceImages,
    test: DeviceImages,
    parts: SplitIndices,
    train_full: Vec<usize>,
    test_indices: Vec<usize>,
    /// None where the images are network input already.
    augment: Option<Augment>,
    num_classes: usize,
    eval_batch_size: usize,
    device: Device,
}

impl DeviceDataset {
    /// Moves `dataset` to `device`, or its batches one by one where it does not fit there; batches come out in `kind`.
    pub fn new(
        dataset: &Dataset,
        parts: SplitIndices,
        config: &config::DataConfig,
        kind: Kind,
        device: Device,
    ) -> Result<Self> {
        let augment = Augment::new(&config.transforms, (dataset.train.height, dataset.train.width), kind, device)?;
        let pixels_on = pixel_placement::choose(&[&dataset.train, &dataset.test], device)?;
        let place = |images| DeviceImages::place(images, pixels_on, device);
        let (train, test) = (place(&dataset.train)?, place(&dataset.test)?);
        let mut dataset = Self::prepared(train, test, parts, dataset.num_classes, config.eval_batch_size);
        dataset.augment = Some(augment);
        Ok(dataset)
    }

    /// Data that is network input already: no transforms. `eval_batch_size` is the samples of one evaluation batch.
    pub fn prepared(
        train: DeviceImages,
        test: DeviceImages,
        parts: SplitIndices,
        num_classes: usize,
        eval_batch_size: usize,
    ) -> Self {
        DeviceDataset {
            test_indices: (0..test.host_labels.len()).collect(),
            device: train.labels.device(),
            train,
            test,
            train_full: parts.train(),
            parts,
            augment: None,
            num_classes,
            eval_batch_size,
        }
    }

    pub fn num_classes(&self) -> usize {
        self.num_classes
    }

    /// Samples of one evaluation batch on one rank. Part of the numbers' identity: another size may change last bits.
    pub fn eval_batch_size(&self) -> usize {
        self.eval_batch_size
    }

    pub fn device(&self) -> Device {
        self.device
    }

    /// Device whose memory holds the images: that of the rank, or the CPU if they do not fit there.
    pub fn pixel_device(&self) -> Device {
        self.train.pixels.device()
    }

    /// Indices of a part, sorted, into the training set (`Part::Test`: into the test set).
    pub fn indices(&self, part: Part) -> &[usize] {
        match part {
            Part::Retain => &self.parts.retain,
            Part::Forget => &self.parts.forget,
            Part::Train => &self.train_full,
            Part::RetainSubset => &self.parts.retain_subset,
            Part::HeldOut => &self.parts.heldout,
            Part::Val => &self.parts.val,
            Part::Test => &self.test_indices,
        }
    }

    /// The least and the greatest value that a pixel of network input may have, [1, C, 1, 1] each. None where the data
    /// is network input already: nobody knows what it was made from.
    pub fn bounds(&self) -> Option<(Tensor, Tensor)> {
        self.augment.as_ref().map(Augment::bounds)
    }

    /// Labels of the samples of a part, in the order of [`DeviceDataset::indices`].
    pub fn labels(&self, part: Part) -> Vec<i64> {
        let labels = self.set(part).labels();
        self.indices(part).iter().map(|&index| labels[index]).collect()
    }

    pub fn label(&self, part: Part, index: usize) -> i64 {
        self.set(part).host_labels[index]
    }

    fn set(&self, part: Part) -> &DeviceImages {
        match part {
            Part::Test => &self.test,
            _ => &self.train,
        }
    }

    /// Network input and labels of the samples `indices` (into the set that `part` belongs to): images
    /// [n, C, S, S] channels-last, labels int64 [n]. With `keys` the training transforms, drawn by them; without,
    /// those of evaluation.
    pub fn load_batch(&self, part: Part, indices: &[usize], keys: Option<&SampleKeys<'_>>) -> Result<(Tensor, Tensor)> {
        let set = self.set(part);
        let rows: Vec<i64> = indices.iter().map(|&index| index as i64).collect();
        // Pixels that stayed in host memory are gathered there.
        let rows = upload(&Tensor::f_from_slice(&rows)?, set.pixels.device())?;
        let pixels = upload(&set.pixels.f_index_select(0, &rows)?, self.device)?;
        let images = match (&self.augment, keys) {
            (Some(augment), Some(keys)) => augment.train(&pixels, keys)?,
            (Some(augment), None) => augment.eval(&pixels)?,
            (None, _) => to_channels_last(&pixels)?,
        };
        Ok((images, set.labels.f_index_select(0, &upload(&rows, self.device)?)?))
    }
}
