//! NegGrad: gradient ascent on forget data (Golatkar et al. 2020, arXiv 1911.04933).
//!
//! Each step minimises -CE(f; B_f), with B_f an augmented batch of forget.

use serde::Deserialize;

use super::settings::{only_phase, own_settings};
use crate::config::schema::UnlearnConfig;
use crate::data::{Part, Sampler};
use crate::error::Result;
use crate::train::loss::cross_entropy_sum;
use crate::train::{Method, Pass, Phase, Step, Term};

pub struct NegGrad {
    pub phase: Phase,
}

/// NegGrad has no keys of its own.
#[derive(Deserialize)]
struct NegGradSettings {}

pub fn build(config: &UnlearnConfig) -> Result<Box<dyn Method>> {
    let NegGradSettings {} = own_settings(config)?;
    Ok(Box::new(NegGrad { phase: only_phase(config) }))
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
        let logits = step.train(forget)?;
        let ce = cross_entropy_sum(&logits, &forget.labels, 0.0);
        Ok(vec![Term::over(forget, "forget_ce", -1.0, ce).with_accuracy(&logits, forget)])
    }
}
