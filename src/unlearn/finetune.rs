//! Finetune: continues training on retain data alone, so that the model may forget the rest (Golatkar et al. 2020,
//! arXiv 1911.04933).
//!
//! Each step minimises CE(f; B_s), with B_s an augmented batch of the retain *subset*. The subset has as many samples
//! as forget, so the amount of work is comparable with that of the other methods.

use serde::Deserialize;

use super::settings::{method_settings, single_phase};
use crate::config::schema::UnlearnConfig;
use crate::data::Part;
use crate::error::Result;
use crate::train::Method;
use crate::train::supervised::Supervised;

/// Finetune has no keys of its own.
#[derive(Deserialize)]
struct FinetuneSettings {}

pub fn build(config: &UnlearnConfig) -> Result<Box<dyn Method>> {
    let FinetuneSettings {} = method_settings(config)?;
    Ok(Box::new(Supervised { part: Part::RetainSubset, label_smoothing: 0.0, phase: single_phase(config) }))
}
