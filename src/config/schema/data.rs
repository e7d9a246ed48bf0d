//! `data`: the data set, its batches and its transforms.

use std::path::PathBuf;

use serde::Deserialize;

use super::forms;
use super::transforms::TransformsConfig;

/// The data set and its batches.
#[derive(Debug, Clone, Deserialize)]
pub struct DataConfig {
    pub name: DatasetName,
    /// Folder of the data set.
    #[serde(deserialize_with = "forms::path")]
    pub data_dir: PathBuf,
    /// Download the data set if it is absent.
    pub download: bool,
    /// The source of archives instead of their publishers: an address, or a folder.
    pub mirror: Option<String>,
    /// Number of classes of the data set. `model.model.num_classes` follows it.
    pub num_classes: i64,
    /// Samples of one micro-step: of all ranks together or of each rank, see `batch_scope`.
    pub batch_size: usize,
    pub batch_scope: BatchScope,
    /// Samples of one evaluation batch on one rank.
    pub eval_batch_size: usize,
    /// Use only the first N samples of train and of test.
    pub debug_subset_size: Option<usize>,
    /// Image files are resized to squares of this side (null: they all have one size).
    pub image_size: Option<usize>,
    /// Leave out image files that cannot be decoded.
    #[serde(default)]
    pub skip_corrupt: bool,
    pub transforms: TransformsConfig,
    // Accepted for configurations of the Python program. There are no loader processes here.
    pub num_workers: Option<i64>,
    pub pin_memory: Option<bool>,
    pub persistent_workers: Option<bool>,
    pub prefetch_factor: Option<i64>,
}

/// The known data sets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DatasetName {
    Digits,
    Cifar10,
    Cifar100,
    TinyImagenet,
    ImageFolder,
}

impl DatasetName {
    /// The name in configurations and in file names.
    pub fn name(self) -> &'static str {
        match self {
            DatasetName::Digits => "digits",
            DatasetName::Cifar10 => "cifar10",
            DatasetName::Cifar100 => "cifar100",
            DatasetName::TinyImagenet => "tiny_imagenet",
            DatasetName::ImageFolder => "image_folder",
        }
    }
}

/// The samples that `batch_size` counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BatchScope {
    /// Of all ranks together.
    Global,
    /// Of each rank.
    PerRank,
}
