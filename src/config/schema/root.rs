//! The root of the configuration, and its small sections.

use std::path::PathBuf;

use serde::Deserialize;

use super::data::DataConfig;
use super::forms;
use super::launch::LaunchConfig;
use super::model::ModelGroup;
use super::split::SplitConfig;
use super::trainer::TrainerConfig;
use super::unlearn::UnlearnConfig;

/// The whole configuration of a run.
#[derive(Debug, Clone, Deserialize)]
pub struct Config {
    pub data: DataConfig,
    pub model: ModelGroup,
    /// None if no method is chosen. The loader reads it after the other keys, because methods have keys of their own.
    #[serde(skip)]
    pub unlearn: Option<UnlearnConfig>,
    pub seed: u64,
    pub paths: PathsConfig,
    pub run: RunConfig,
    pub mul_eval: MulEvalConfig,
    pub trainer: TrainerConfig,
    pub split: SplitConfig,
    pub logging: LoggingConfig,
    pub checkpoint: CheckpointConfig,
    pub launch: LaunchConfig,
    pub compat: CompatConfig,
}

/// `paths`: the folders of a run.
#[derive(Debug, Clone, Deserialize)]
pub struct PathsConfig {
    #[serde(deserialize_with = "forms::path")]
    pub cache_dir: PathBuf,
    #[serde(deserialize_with = "forms::path")]
    pub data_dir: PathBuf,
    #[serde(deserialize_with = "forms::path")]
    pub outputs_dir: PathBuf,
}

/// `run`: the model files that commands read and write.
#[derive(Debug, Clone, Deserialize)]
pub struct RunConfig {
    pub experiment_id: Option<String>,
    /// The base model.
    #[serde(deserialize_with = "forms::path")]
    pub base_weights: PathBuf,
    /// The retrained model.
    #[serde(deserialize_with = "forms::path")]
    pub retrain_weights: PathBuf,
}

/// `mul_eval`: the evaluation of unlearning.
#[derive(Debug, Clone, Deserialize)]
pub struct MulEvalConfig {
    /// Number of reference models that calibrate RMIA.
    pub mia_num_models: usize,
    /// Cache file of the reference probabilities and of the retrained model's logits.
    #[serde(deserialize_with = "forms::path")]
    pub cache: PathBuf,
}

/// `logging`: settings of the Python program's tracker. No tracker is built in, so they have no effect.
#[derive(Debug, Clone, Deserialize)]
pub struct LoggingConfig {
    pub enable: bool,
    pub entity: Option<String>,
    pub project: Option<String>,
    pub name: Option<String>,
    pub tags: Vec<String>,
    pub offline: bool,
}

/// `checkpoint`: settings of the Python program without effect here, because the final model is saved in any case.
#[derive(Debug, Clone, Deserialize)]
pub struct CheckpointConfig {
    pub monitor: String,
    pub mode: String,
}

/// Switches that bring back faults of the Python program. Only faults that change numbers have a switch.
#[derive(Debug, Clone, Deserialize)]
pub struct CompatConfig {
    /// SCRUB's teacher follows the student into train mode from the second epoch on.
    pub scrub_teacher_mode: bool,
}
