//! `split`: the parts of the training set.

use serde::Deserialize;

/// Fractions of the training set, and the classes to forget.
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

/// The choice of the samples to forget.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scheme {
    Random,
    Stratified,
    Class,
}

impl Scheme {
    /// The name in configurations and in file names.
    pub fn name(self) -> &'static str {
        match self {
            Scheme::Random => "random",
            Scheme::Stratified => "stratified",
            Scheme::Class => "class",
        }
    }
}
