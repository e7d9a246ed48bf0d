//! Ordinary training: cross entropy on one part of the data. Base, retrained and reference models are trained with it.

use super::cross_entropy::cross_entropy_term;
use super::method::Method;
use super::phase::{Pass, Phase};
use super::step::Step;
use super::term::Term;
use crate::data::{Part, Sampler};
use crate::error::Result;

/// Training with cross entropy on `part`.
pub struct Supervised {
    pub part: Part,
    /// In [0, 1).
    pub label_smoothing: f64,
    pub phase: Phase,
}

impl Method for Supervised {
    fn phases(&self) -> Vec<Phase> {
        vec![self.phase.clone()]
    }

    fn passes(&self, _: usize, _: usize) -> Vec<Pass> {
        vec![Pass::new("train", [Sampler::train(self.part)])]
    }

    fn graph_key(&self, _: usize, _: usize) -> Option<u64> {
        Some(0)
    }

    fn losses(&mut self, step: &Step<'_>) -> Result<Vec<Term>> {
        let batch = step.batch(self.part.name())?;
        Ok(vec![cross_entropy_term(step, batch, "ce", 1.0, self.label_smoothing)?])
    }
}
