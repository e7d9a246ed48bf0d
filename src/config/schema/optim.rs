//! Optimizers and learning-rate schedules.

use serde::Deserialize;

use super::forms;

/// An optimizer. Settings that are null have PyTorch's defaults.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct OptimConfig {
    pub name: OptimName,
    /// Learning rate at the start. Required unless `name` is `none`.
    pub lr: Option<f64>,
    pub weight_decay: Option<f64>,
    /// SGD.
    pub momentum: Option<f64>,
    /// SGD.
    pub nesterov: Option<bool>,
    /// AdamW: decay rates of the two moments.
    pub betas: Option<[f64; 2]>,
    /// AdamW: no weight decay for biases and norm layers, in phases that give the optimizer parameter names.
    pub exclude_wd_norm_bias: Option<bool>,
}

/// The known optimizers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OptimName {
    Sgd,
    Adamw,
    /// No training (SSD).
    None,
}

/// A learning-rate schedule. Durations are in epochs.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct SchedulerConfig {
    pub name: SchedulerName,
    /// `step`: epochs between two decays.
    pub step_size: Option<i64>,
    /// `step`, `multistep`: factor of the learning rate at each decay (null: 0.1).
    pub gamma: Option<f64>,
    /// `multistep`: epochs of the decays, in rising order.
    #[serde(default, deserialize_with = "forms::optional_integers")]
    pub milestones: Option<Vec<i64>>,
    /// `cosine`: length of the schedule.
    pub t_max: Option<i64>,
    /// `cosine`: length of the linear warm-up (null: none).
    pub warmup_epochs: Option<i64>,
    /// `cosine`: learning rate at the start of the warm-up (null: 0).
    pub warmup_start_lr: Option<f64>,
}

/// The known schedules.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SchedulerName {
    None,
    Step,
    Multistep,
    Cosine,
}
