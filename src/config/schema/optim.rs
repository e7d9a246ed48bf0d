//! Optimizers and learning-rate schedules.

use serde::Deserialize;

/// An optimizer.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct OptimConfig {
    pub name: OptimName,
    pub lr: Option<f64>,
    pub weight_decay: Option<f64>,
    pub momentum: Option<f64>,
    pub nesterov: Option<bool>,
    pub betas: Option<[f64; 2]>,
    /// AdamW: no weight decay for biases and norm layers, in phases that give the optimizer parameter names.
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

/// A learning-rate schedule.
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
