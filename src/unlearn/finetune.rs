//! Finetune: go on training on retain data and hope that the rest fades (Golatkar et al. 2020, arXiv 1911.04933).
//!
//! Each step minimises CE(f; B_s), B_s an augmented batch of the retain *subset*: as many retain samples as there are
//! forget samples, so that the work is that of the other methods.

use serde::Deserialize;

use super::{only_phase, settings};
use crate::config::schema::UnlearnConfig;
use crate::data::Part;
use crate::error::Result;
use crate::train::Method;
use crate::train::supervised::Supervised;

/// No settings of its own.
#[derive(Deserialize)]
struct Settings {}

pub fn build(config: &UnlearnConfig) -> Result<Box<dyn Method>> {
    let Settings {} = settings(config)?;
    Ok(Box::new(Supervised { part: Part::RetainSubset, label_smoothing: 0.0, phase: only_phase(config) }))
}
