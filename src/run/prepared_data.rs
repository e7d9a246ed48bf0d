//! The data of one data configuration: read, checked, split and placed on the device.

use std::path::PathBuf;

use serde_json::Value;
use tch::{Device, Kind};

use super::identity;
use super::limits::limited_samples;
use crate::checkpoint::Facts;
use crate::config::Loaded;
use crate::config::schema::Config;
use crate::data::augment::input_sizes;
use crate::data::host_dataset::count_test_images_in_train;
use crate::data::pixels::Pixels;
use crate::data::{self, Dataset, DeviceDataset, LoadOptions, split};
use crate::distributed::{World, process};
use crate::error::{Error, Result};

/// All settings that prepared data depends on. Runs with equal keys share the data.
#[derive(Debug, PartialEq)]
pub struct DataKey {
    /// The `data` section, resolved.
    data: Option<Value>,
    /// The `split` section, resolved.
    split: Option<Value>,
    /// Folder of packed images.
    cache_dir: PathBuf,
    /// Dtype of network input.
    kind: Kind,
    device: Device,
}

impl DataKey {
    pub fn new(loaded: &Loaded, kind: Kind, device: Device) -> Self {
        let cache_dir = loaded.config.paths.cache_dir.clone();
        DataKey { data: loaded.value("data"), split: loaded.value("split"), cache_dir, kind, device }
    }
}

/// A data set with its split, ready for training and evaluation.
pub struct PreparedData {
    pub key: DataKey,
    pub dataset: DeviceDataset,
    /// `data.name`.
    pub name: String,
    /// Channels, height and width of the stored images.
    pub image_shape: [usize; 3],
    /// Height and width of network input, in training and in evaluation.
    pub input_sizes: [(i64, i64); 2],
    /// Identity of data and split: the part of a model's identity that does not depend on the model.
    pub identity: Facts,
    /// The fact of `identity` about the content of the data, of models that were trained while there was no test set.
    pub content_without_test: String,
    /// The reason why there are no test images; `None` if there are.
    no_test: Option<Error>,
    /// Warnings that belong in the results of every run on this data.
    pub flags: Vec<String>,
    /// Bytes of all images, train and test.
    pub image_bytes: u64,
    /// Whether the images on the host are a memory-mapped file.
    pub is_mapped: bool,
}

impl PreparedData {
    /// Reads the data set (rank 0 downloads it first if it is absent), splits it and moves it to the device of `key`.
    /// Logs warnings about the split. A collective call.
    ///
    /// # Errors
    /// `Missing` data, data that differ between the ranks, a split that is not possible.
    pub fn new(key: DataKey, config: &Config, world: &World) -> Result<Self> {
        let dataset = data::obtain(&config.data, load_options(config, world), world)?;
        world.agree(|| vec![("content of the data (sha256)".into(), dataset.fingerprints.all.clone())])?;
        let parts = split::split(&dataset.train.labels, &config.split)?;
        for warning in &parts.warnings {
            tracing::warn!("{warning}");
        }
        let images = &dataset.train;
        let identity = identity::of_data(config, &dataset, &parts);
        let mut flags = data_flags(&dataset);
        let limit = config.trainer.limit_test_batches;
        let tested = limited_samples(config, limit, "trainer.limit_test_batches", dataset.test.len())?;
        if tested < dataset.test.len() {
            flags.push(format!(
                "trainer.limit_test_batches={limit}: evaluations see the first {tested} of {} test images",
                dataset.test.len()
            ));
        }
        let mut on_device = DeviceDataset::new(&dataset, parts, &config.data, key.kind, key.device)?;
        on_device.limit_test(tested);
        Ok(PreparedData {
            name: dataset.name.clone(),
            image_shape: [images.channels, images.height, images.width],
            input_sizes: input_sizes(&config.data.transforms, images),
            identity,
            content_without_test: dataset.fingerprints.train.clone(),
            no_test: dataset.no_test.clone(),
            flags,
            image_bytes: [images, &dataset.test].map(|images| images.pixels.len() as u64).iter().sum(),
            is_mapped: matches!(images.pixels, Pixels::Mapped(_)),
            dataset: on_device,
            key,
        })
    }

    /// Checks that there are test images, before a run that evaluates trains anything.
    ///
    /// # Errors
    /// `Missing`, with the reason.
    pub fn require_test(&self) -> Result<()> {
        match &self.no_test {
            Some(error) => {
                Err(error.clone().context("there are no test images, and this run evaluates models on them"))
            }
            None => Ok(()),
        }
    }

    /// Logs that there are no test images, for a run that needs none.
    pub fn log_missing_test(&self) {
        if let Some(error) = &self.no_test {
            tracing::info!("there are no test images, and this command goes on without: {}", error.message());
        }
    }
}

/// Resources for loading the data. One rank of a node decodes images while the others wait, so it gets the threads of
/// all of them.
pub fn load_options<'a>(config: &'a Config, world: &World) -> LoadOptions<'a> {
    let cores = process::cores();
    let threads = config.trainer.threads.map_or(cores, |each| (each * world.local_size()).min(cores));
    LoadOptions { cache_dir: &config.paths.cache_dir, threads }
}

fn data_flags(dataset: &Dataset) -> Vec<String> {
    match count_test_images_in_train(dataset) {
        0 => Vec::new(),
        n => vec![format!("{n} of {} test images are also training images", dataset.test.len())],
    }
}
