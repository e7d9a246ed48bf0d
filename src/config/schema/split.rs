//! `split`: the parts of the training set.

use serde::Deserialize;

use super::forms;

/// Fractions of the training set, and the classes to forget.
#[derive(Debug, Clone, Deserialize)]
pub struct SplitConfig {
    pub seed: u64,
    pub scheme: Scheme,
    /// Fraction of all training images.
    pub heldout_frac: f64,
    /// Fraction of the images that are not held out.
    pub validation_frac: f64,
    /// Only compared with the other fractions: retain gets the rest.
    pub retain_frac: f64,
    /// Whether `retain_frac` is compared: the user has chosen it.
    #[serde(skip)]
    pub checks_retain_frac: bool,
    /// Fraction of the images that are not held out; with scheme `class` only of those of the forget classes.
    pub forget_frac: f64,
    /// Scheme `class`: the classes to forget.
    #[serde(deserialize_with = "forms::integers")]
    pub forget_classes: Vec<i64>,
}

/// The choice of the samples to forget.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scheme {
    /// A random part of all images.
    Random,
    /// A random part of each class, in equal fractions.
    Stratified,
    /// A random part of the forget classes.
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
