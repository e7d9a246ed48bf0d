//! `launch`: cooperation of the ranks of a run.

use serde::Deserialize;

/// Settings of collectives and of the watchdog.
#[derive(Debug, Clone, Deserialize)]
pub struct LaunchConfig {
    /// Timeout of a collective in seconds. After it the job ends with exit code 71.
    pub timeout_seconds: f64,
    /// Compare every collective call between the ranks before it starts.
    pub check_collectives: bool,
    /// Smallest size of a bucket. Gradients are all-reduced in buckets.
    pub bucket_mib: f64,
    /// Smallest size of the first bucket.
    pub first_bucket_mib: f64,
    pub bucket_order: BucketOrder,
    /// The dtype of gradients in an all-reduce (null: their own).
    pub compress_gradients: Option<Compression>,
    /// Measure the GPU time of gradient all-reduces, and the part of it that overlaps with the backward pass.
    pub trace_sums: bool,
    /// Several ranks may use one GPU.
    pub share_gpus: bool,
}

/// The order of parameters in buckets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BucketOrder {
    /// The order in which the backward pass completes gradients: the last layers first.
    Ready,
    /// The first layers first. Then the all-reduces start after the backward pass.
    Layout,
}

/// The dtype of compressed gradients.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Compression {
    Bf16,
}
