//! The typed configuration: what the composed tree is read into. Plain data, no logic.
//!
//! Field names are the keys that a user types. Every type rejects keys that it does not list. Lengths of time are in
//! epochs unless a name says otherwise. What a method alone understands stays a [`Section`] until the method reads it.

use serde::{Deserialize, Deserializer};
use std::path::PathBuf;

use super::Section;

#[derive(Debug, Clone, Deserialize)]
pub struct Config {
    pub data: DataConfig,
    pub model: ModelGroup,
    /// Absent where no method is chosen.
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

#[derive(Debug, Clone, Deserialize)]
pub struct DataConfig {
    pub name: DatasetName,
    pub data_dir: PathBuf,
    pub download: bool,
    /// Where archives are taken from instead of their publishers: an address, or a folder.
    pub mirror: Option<String>,
    /// Number of classes of the data set; `model.model.num_classes` follows it.
    pub num_classes: i64,
    /// Samples of one micro-step, over all ranks (`global`) or on each (`per_rank`): see `batch_scope`.
    pub batch_size: usize,
    pub batch_scope: BatchScope,
    /// Samples of one evaluation batch on one rank.
    pub eval_batch_size: usize,
    /// Only the first N of train and of test.
    pub debug_subset_size: Option<usize>,
    /// Side of the squares that image files are made to (null: all have one size already).
    pub image_size: Option<usize>,
    /// Leave out image files that cannot be decoded.
    #[serde(default)]
    pub skip_corrupt: bool,
    pub transforms: TransformsConfig,
    // Accepted for configurations of the Python program; no loader processes exist here.
    pub num_workers: Option<i64>,
    pub pin_memory: Option<bool>,
    pub persistent_workers: Option<bool>,
    pub prefetch_factor: Option<i64>,
}

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
    /// As it is typed, and as it stands in file names.
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

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BatchScope {
    Global,
    PerRank,
}

#[derive(Debug, Clone, Deserialize)]
pub struct TransformsConfig {
    pub normalize: NormalizeConfig,
    pub random_crop: RandomCropConfig,
    pub horizontal_flip: HorizontalFlipConfig,
    pub imagenet_resize: ImagenetResizeConfig,
    pub color_jitter: Option<ColorJitterConfig>,
    pub randaugment: Option<RandAugmentConfig>,
    pub random_erasing: Option<RandomErasingConfig>,
}

/// Per-channel statistics, in units where a pixel is in [0, 1].
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct NormalizeConfig {
    pub mean: Vec<f64>,
    pub std: Vec<f64>,
}

#[derive(Debug, Clone, Deserialize)]
pub struct RandomCropConfig {
    pub enabled: bool,
    pub size: i64,
    pub padding: i64,
}

#[derive(Debug, Clone, Deserialize)]
pub struct HorizontalFlipConfig {
    pub enabled: bool,
    pub p: f64,
}

#[derive(Debug, Clone, Deserialize)]
pub struct ImagenetResizeConfig {
    pub enabled: bool,
    pub train_size: i64,
    pub eval_resize: i64,
    pub eval_crop: i64,
    pub normalize: NormalizeConfig,
}

#[derive(Debug, Clone, Deserialize)]
pub struct ColorJitterConfig {
    pub enabled: bool,
    pub brightness: f64,
    pub contrast: f64,
    pub saturation: f64,
    pub hue: f64,
}

#[derive(Debug, Clone, Deserialize)]
pub struct RandAugmentConfig {
    pub enabled: bool,
    pub num_ops: i64,
    pub magnitude: i64,
    pub num_magnitude_bins: i64,
}

#[derive(Debug, Clone, Deserialize)]
pub struct RandomErasingConfig {
    pub enabled: bool,
    pub p: f64,
    pub scale: Vec<f64>,
    pub ratio: Vec<f64>,
    /// A number, or `random`.
    pub value: Section,
}

#[derive(Debug, Clone, Deserialize)]
pub struct ModelGroup {
    pub model: ModelConfig,
    pub optim: OptimConfig,
    pub scheduler: SchedulerConfig,
}

#[derive(Debug, Clone, Deserialize)]
pub struct ModelConfig {
    /// A name of `models::REGISTRY`.
    pub name: String,
    pub num_classes: i64,
    /// Training starts from ImageNet weights.
    pub pretrained: bool,
    /// Where these are: a checkpoint of torchvision.
    pub pretrained_path: Option<PathBuf>,
    pub stem: Option<Stem>,
    pub freeze_backbone: bool,
    pub label_smoothing: Option<f64>,
    /// Side of the input in pixels (Swin, ViT).
    pub image_size: Option<i64>,
}

/// First layers of a ResNet: the paper's for ImageNet (`none`), or a 3x3 convolution without max-pool of stride 1
/// (`cifar`) or 2 (`tiny_imagenet`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stem {
    None,
    Cifar,
    TinyImagenet,
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct OptimConfig {
    pub name: OptimName,
    pub lr: Option<f64>,
    pub weight_decay: Option<f64>,
    pub momentum: Option<f64>,
    pub nesterov: Option<bool>,
    pub betas: Option<[f64; 2]>,
    /// AdamW: no weight decay for biases and for norm layers (where parameter names are given).
    pub exclude_wd_norm_bias: Option<bool>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OptimName {
    Sgd,
    Adamw,
    /// No training (SSD).
    None,
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct SchedulerConfig {
    pub name: SchedulerName,
    pub step_size: Option<i64>,
    pub gamma: Option<f64>,
    pub milestones: Option<Vec<i64>>,
    pub t_max: Option<i64>,
    pub warmup_epochs: Option<i64>,
    pub warmup_start_lr: Option<f64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SchedulerName {
    None,
    Step,
    Multistep,
    Cosine,
}

/// The part of `unlearn` that all methods share; `method` is the whole group as written, for the method to read with
/// `Section::decode_ignoring(UnlearnConfig::SHARED_KEYS)`.
#[derive(Debug, Clone, Deserialize)]
pub struct UnlearnConfig {
    /// A name of `unlearn::REGISTRY`.
    pub name: String,
    pub evaluate_each_epoch: bool,
    /// `unlearn.trainer.max_epochs`; 0 where the group has no `trainer` (one-shot methods).
    #[serde(rename = "trainer", default, deserialize_with = "max_epochs")]
    pub max_epochs: usize,
    pub optim: OptimConfig,
    pub scheduler: Option<SchedulerConfig>,
    /// The deserializer puts the whole group here.
    #[serde(rename = "$self")]
    pub method: Section,
}

impl UnlearnConfig {
    /// The keys that a method leaves to this struct.
    pub const SHARED_KEYS: &[&str] = &["name", "evaluate_each_epoch", "trainer", "optim", "scheduler"];
}

fn max_epochs<'de, D: Deserializer<'de>>(deserializer: D) -> Result<usize, D::Error> {
    #[derive(Deserialize)]
    struct UnlearnTrainer {
        max_epochs: usize,
    }
    UnlearnTrainer::deserialize(deserializer).map(|trainer| trainer.max_epochs)
}

#[derive(Debug, Clone, Deserialize)]
pub struct PathsConfig {
    pub cache_dir: PathBuf,
    pub data_dir: PathBuf,
    pub outputs_dir: PathBuf,
}

#[derive(Debug, Clone, Deserialize)]
pub struct RunConfig {
    pub experiment_id: Option<String>,
    pub base_weights: PathBuf,
    pub retrain_weights: PathBuf,
}

#[derive(Debug, Clone, Deserialize)]
pub struct MulEvalConfig {
    /// How many reference models calibrate RMIA.
    pub mia_num_models: usize,
    pub cache: PathBuf,
}

#[derive(Debug, Clone, Deserialize)]
pub struct TrainerConfig {
    pub max_epochs: usize,
    pub accelerator: Accelerator,
    pub devices: Section,
    pub precision: Precision,
    pub log_every_n_steps: usize,
    pub enable_checkpointing: bool,
    pub enable_progress_bar: bool,
    pub accumulate_grad_batches: usize,
    /// Largest norm of the whole gradient (null: no clipping).
    pub gradient_clip_val: Option<f64>,
    pub sync_batchnorm: bool,
    pub deterministic: bool,
    /// TF32 for float32 matrix products on a GPU.
    pub allow_tf32: bool,
    /// Whether steps on a GPU are recorded once and launched again as one piece.
    pub cuda_graph: CudaGraphMode,
    /// CPU threads of one rank (null: cores of the node / its ranks).
    pub threads: Option<usize>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Accelerator {
    Auto,
    Gpu,
    Cpu,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub enum CudaGraphMode {
    /// Where that is possible.
    #[serde(rename = "auto")]
    Auto,
    /// It must be possible.
    #[serde(rename = "true")]
    On,
    #[serde(rename = "false")]
    Off,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub enum Precision {
    #[serde(rename = "32", alias = "32-true")]
    F32,
    #[serde(rename = "64", alias = "64-true")]
    F64,
    /// float32 weights; matrix products and convolutions of training steps in bfloat16. float32 throughout on a CPU.
    #[serde(rename = "bf16-mixed", alias = "bf16")]
    Bf16Mixed,
    /// The same in float16, with the loss scaled so that gradients neither vanish nor overflow.
    #[serde(rename = "16-mixed", alias = "16")]
    F16Mixed,
}

#[derive(Debug, Clone, Deserialize)]
pub struct SplitConfig {
    pub seed: u64,
    pub scheme: Scheme,
    pub heldout_frac: f64,
    pub validation_frac: f64,
    pub retain_frac: f64,
    pub forget_frac: f64,
    pub forget_classes: Vec<i64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scheme {
    Random,
    Stratified,
    Class,
}

impl Scheme {
    /// As it is typed, and as it stands in file names.
    pub fn name(self) -> &'static str {
        match self {
            Scheme::Random => "random",
            Scheme::Stratified => "stratified",
            Scheme::Class => "class",
        }
    }
}

#[derive(Debug, Clone, Deserialize)]
pub struct LoggingConfig {
    pub enable: bool,
    pub entity: Option<String>,
    pub project: Option<String>,
    pub name: Option<String>,
    pub tags: Vec<String>,
    pub offline: bool,
}

#[derive(Debug, Clone, Deserialize)]
pub struct CheckpointConfig {
    pub monitor: String,
    pub mode: String,
}

/// How the ranks of a run work together.
#[derive(Debug, Clone, Deserialize)]
pub struct LaunchConfig {
    /// Longest wait for another rank, in seconds; then the job ends with exit code 71.
    pub timeout_seconds: f64,
    /// Compare every collective call between the ranks before it is made.
    pub check_collectives: bool,
    /// Gradients are summed over the ranks in pieces of at least this size.
    pub bucket_mib: f64,
    /// The same for the piece that is ready first.
    pub first_bucket_mib: f64,
    pub bucket_order: BucketOrder,
    /// The element type in which gradients travel (null: their own).
    pub compress_gradients: Option<Compression>,
    /// Take the time of gradient sums on the GPU, and how much of it the backward pass hides.
    pub trace_sums: bool,
    /// Several ranks may use one GPU.
    pub share_gpus: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BucketOrder {
    /// As the backward pass completes them, the last layers first.
    Ready,
    /// The first layers first, which is after the backward pass.
    Layout,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Compression {
    Bf16,
}

/// Switches that bring back faults of the Python program whose mending changes numbers.
#[derive(Debug, Clone, Deserialize)]
pub struct CompatConfig {
    /// SCRUB's teacher follows the student into train mode from the second epoch on.
    pub scrub_teacher_mode: bool,
}
