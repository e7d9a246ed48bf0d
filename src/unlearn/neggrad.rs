//! NegGrad: gradient ascent on forget data (Golatkar et al. 2020, arXiv 1911.04933).
//!
//! Each step minimises -CE(f; B_f), with B_f an augmented batch of forget.

use serde::Deserialize;

use super::settings::{method_settings, single_phase};
use crate::config::schema::UnlearnConfig;
use crate::data::{Part, Sampler};
use crate::error::Result;
use crate::train::cross_entropy::cross_entropy_term;
use crate::train::{Method, Pass, Phase, Step, Term};

/// NegGrad as a training method.
pub struct NegGrad {
    pub phase: Phase,
}

/// NegGrad has no keys of its own.
#[derive(Deserialize)]
struct NegGradSettings {}

pub fn build(config: &UnlearnConfig) -> Result<Box<dyn Method>> {
    let NegGradSettings {} = method_settings(config)?;
    Ok(Box::new(NegGrad { phase: single_phase(config) }))
}

impl Method for NegGrad {
    fn phases(&self) -> Vec<Phase> {
        vec![self.phase.clone()]
    }

    fn passes(&self, _: usize, _: usize) -> Vec<Pass> {
        vec![Pass::new("forget", [Sampler::train(Part::Forget)])]
    }

    fn graph_key(&self, _: usize, _: usize) -> Option<u64> {
        Some(0)
    }

    fn losses(&mut self, step: &Step<'_>) -> Result<Vec<Term>> {
        let forget = step.batch(Part::Forget.name())?;
        Ok(vec![cross_entropy_term(step, forget, "forget_ce", -1.0, 0.0)?])
    }
}
