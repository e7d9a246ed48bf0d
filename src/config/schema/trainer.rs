//! `trainer`: training settings shared by all models and methods.

use serde::Deserialize;

use super::devices::DevicesConfig;
use super::forms;
use super::limits::{BatchLimit, FastDevRun};

/// Training settings shared by all models and methods.
#[derive(Debug, Clone, Deserialize)]
pub struct TrainerConfig {
    /// Epochs of the base, retrained and reference models.
    #[serde(deserialize_with = "forms::epochs")]
    pub max_epochs: usize,
    /// A smoke test: one epoch of so many batches. Its models have a folder of their own.
    pub fast_dev_run: FastDevRun,
    /// Batches of each pass of a training.
    pub limit_train_batches: BatchLimit,
    /// Batches of the validation after each epoch.
    pub limit_val_batches: BatchLimit,
    /// Batches of the test set in evaluations.
    pub limit_test_batches: BatchLimit,
    /// Train on the same few batches in each epoch, in the order of the data (0.0: off).
    pub overfit_batches: BatchLimit,
    pub accelerator: Accelerator,
    pub devices: DevicesConfig,
    pub precision: Precision,
    /// Optimizer steps between two lines in `metrics.jsonl` (0: one line for each epoch only).
    pub log_every_n_steps: usize,
    /// Accepted for configurations of the Python program. The final model is saved in any case.
    pub enable_checkpointing: bool,
    pub enable_progress_bar: bool,
    /// Micro-steps per optimizer step.
    pub accumulate_grad_batches: usize,
    /// Largest L2 norm of the gradient of all parameters together (null or 0: no clipping).
    #[serde(deserialize_with = "forms::number_or_off")]
    pub gradient_clip_val: Option<f64>,
    /// BatchNorm takes its statistics from the batches of all ranks.
    pub sync_batchnorm: bool,
    /// Only algorithms that give the same bits each time.
    pub deterministic: bool,
    /// TF32 for float32 matrix products on a GPU.
    pub allow_tf32: bool,
    /// Capture of training steps in CUDA graphs.
    pub cuda_graph: CudaGraphMode,
    /// CPU threads of one rank (null: cores of the machine / its ranks).
    pub threads: Option<usize>,
}

impl TrainerConfig {
    /// Whether base, retrained and reference models see any batch.
    pub fn trains(&self) -> bool {
        self.max_epochs > 0 && !self.limit_train_batches.is_none()
    }
}

/// The type of device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Accelerator {
    /// GPUs if all ranks have one, otherwise CPUs.
    Auto,
    #[serde(alias = "cuda")]
    Gpu,
    Cpu,
}

/// Whether training steps on a GPU are captured in CUDA graphs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub enum CudaGraphMode {
    /// Captured if possible.
    #[serde(rename = "auto")]
    Auto,
    /// Captured. An error if that is not possible.
    #[serde(rename = "true")]
    On,
    /// Never captured.
    #[serde(rename = "false")]
    Off,
}

/// The dtypes of training.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub enum Precision {
    #[serde(rename = "32", alias = "32-true")]
    F32,
    #[serde(rename = "64", alias = "64-true")]
    F64,
    /// float32 weights; bfloat16 for matrix products and convolutions of training steps on a GPU. float32 on a CPU.
    #[serde(rename = "bf16-mixed", alias = "bf16")]
    Bf16Mixed,
    /// Like `bf16-mixed` with float16, and a loss scale so that gradients neither underflow nor overflow.
    #[serde(rename = "16-mixed", alias = "16")]
    F16Mixed,
}
