//! The whole data set as tensors, and the samples of each part.

use std::time::Instant;

use tch::{Device, Kind, Tensor};

use super::augment::Augment;
use super::device_images::DeviceImages;
use super::host_dataset::Dataset;
use super::part::Part;
use super::pixel_placement;
use super::split::SplitIndices;
use crate::config::schema::DataConfig;
use crate::error::Result;
use crate::random::SampleKeys;
use crate::torch::{device_name, to_channels_last, upload};

/// The data of a run: images and labels as tensors, the samples of each part, and the transforms.
pub struct DeviceDataset {
    // --- images ---
    train: DeviceImages,
    test: DeviceImages,
    device: Device,
    num_classes: usize,

    // --- samples of the parts ---
    parts: SplitIndices,
    train_full: Vec<usize>,
    test_indices: Vec<usize>,

    // --- configuration ---
    /// `None` if the images are network input already.
    augment: Option<Augment>,
    eval_batch_size: usize,
}

impl DeviceDataset {
    /// Moves `dataset` to `device`. If the pixels do not fit there they stay in host memory, and each batch is uploaded
    /// on its own. Batches have the dtype `kind`.
    pub fn new(
        dataset: &Dataset,
        parts: SplitIndices,
        config: &DataConfig,
        kind: Kind,
        device: Device,
    ) -> Result<Self> {
        let augment = Augment::new(&config.transforms, (dataset.train.height, dataset.train.width), kind, device)?;
        let pixels_on = pixel_placement::choose_pixel_device(&[&dataset.train, &dataset.test], device)?;
        let began = Instant::now();
        let place = |images| DeviceImages::place(images, pixels_on, device);
        let (train, test) = (place(&dataset.train)?, place(&dataset.test)?);
        tracing::debug!(
            "data uploaded: {}, {} bytes of pixels on {} for the device {}, {:.3} s",
            dataset.name,
            dataset.train.pixels.len() + dataset.test.pixels.len(),
            device_name(pixels_on),
            device_name(device),
            began.elapsed().as_secs_f64()
        );
        let mut dataset = Self::prepared(train, test, parts, dataset.num_classes, config.eval_batch_size);
        dataset.augment = Some(augment);
        Ok(dataset)
    }

    /// A data set whose images are network input already: it has no transforms. `eval_batch_size` is the number of
    /// samples of one evaluation batch.
    pub fn prepared(
        train: DeviceImages,
        test: DeviceImages,
        parts: SplitIndices,
        num_classes: usize,
        eval_batch_size: usize,
    ) -> Self {
        DeviceDataset {
            test_indices: (0..test.labels().len()).collect(),
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

    /// Keeps only the first `samples` of the test set.
    pub fn limit_test(&mut self, samples: usize) {
        self.test_indices.truncate(samples);
    }

    pub fn num_classes(&self) -> usize {
        self.num_classes
    }

    /// Samples of one evaluation batch on one rank. It belongs to the identity of the numbers: another size may change
    /// their last bits.
    pub fn eval_batch_size(&self) -> usize {
        self.eval_batch_size
    }

    pub fn device(&self) -> Device {
        self.device
    }

    /// Device whose memory holds the images: that of the rank, or the CPU if they do not fit there.
    pub fn pixel_device(&self) -> Device {
        self.train.pixel_device()
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

    /// The least and the greatest value of a pixel of network input, [1, C, 1, 1] each. `None` if the images are
    /// network input already: their normalisation is not known.
    pub fn bounds(&self) -> Option<(Tensor, Tensor)> {
        self.augment.as_ref().map(Augment::bounds)
    }

    /// Labels of the samples of a part, in the order of [`DeviceDataset::indices`].
    pub fn labels(&self, part: Part) -> Vec<i64> {
        let labels = self.set(part).labels();
        self.indices(part).iter().map(|&index| labels[index]).collect()
    }

    /// Label of the sample `index` (into the set that `part` belongs to).
    pub fn label(&self, part: Part, index: usize) -> i64 {
        self.set(part).labels()[index]
    }

    /// The set that `part` belongs to: training or test.
    fn set(&self, part: Part) -> &DeviceImages {
        match part {
            Part::Test => &self.test,
            _ => &self.train,
        }
    }

    /// Network input and labels of the samples `indices` (into the set that `part` belongs to): images
    /// [n, C, S, S] channels-last, labels int64 [n]. With `keys` the training transforms are applied, with random draws
    /// from those keys; without `keys` the evaluation transforms.
    pub fn make_batch(&self, part: Part, indices: &[usize], keys: Option<&SampleKeys<'_>>) -> Result<(Tensor, Tensor)> {
        let set = self.set(part);
        let rows: Vec<i64> = indices.iter().map(|&index| index as i64).collect();
        // Pixels in host memory are gathered there.
        let rows = upload(&Tensor::f_from_slice(&rows)?, set.pixels.device())?;
        let pixels = upload(&set.pixels.rows(&rows)?, self.device)?;
        let images = match (&self.augment, keys) {
            (Some(augment), Some(keys)) => augment.train(&pixels, keys)?,
            (Some(augment), None) => augment.eval(&pixels)?,
            (None, _) => to_channels_last(&pixels)?,
        };
        Ok((images, set.labels.f_index_select(0, &upload(&rows, self.device)?)?))
    }
}
