//! Stochastic depth (Huang et al. 2016, arXiv 1603.09382): in train mode a residual branch is dropped at random,
//! independently for each sample.
//!
//! The decision depends on the branch and on the sample's own random draws (seed, purpose, epoch, sample). So it does
//! not change with the batch or the rank.

use tch::Tensor;

use super::forward::{Forward, Mode};
use crate::error::{Error, ErrorKind, Result};
use crate::torch::upload;

/// Drop probabilities of all residual branches of a network.
#[derive(Debug)]
pub struct StochasticDepth {
    /// One for each branch, in their order, in [0, 1).
    drop: Vec<f64>,
}

impl StochasticDepth {
    pub fn new(drop: Vec<f64>) -> Self {
        StochasticDepth { drop }
    }

    /// Factors [N, 1, 1, 1] for the output of each branch, in dtype and device of `x`. A factor is 0 for a dropped
    /// branch. Otherwise it is the inverse of the probability to keep the branch, which preserves the mean. None for a
    /// branch that is never dropped: at probability 0, and for all branches in eval mode.
    ///
    /// # Errors
    /// `Bug` in train mode if the context has no sample keys, or not one for each sample.
    pub fn factors(&self, ctx: &Forward<'_>, x: &Tensor) -> Result<Vec<Option<Tensor>>> {
        let n = x.size()[0];
        if ctx.mode() == Mode::Eval || self.drop.iter().all(|&drop| drop == 0.0) {
            return Ok(self.drop.iter().map(|_| None).collect());
        }
        let bug = |text: String| Error::new(ErrorKind::Bug, text);
        let keys = ctx.sample_keys().ok_or_else(|| bug("stochastic depth in train mode without sample keys".into()))?;
        if keys.samples.len() as i64 != n {
            return Err(bug(format!("{} sample keys for {n} images", keys.samples.len())));
        }
        let mut factors = Vec::with_capacity(self.drop.len() * keys.samples.len());
        for &sample in keys.samples {
            let mut draws = keys.stream.at(keys.epoch, sample as u64);
            factors.extend(self.drop.iter().map(|&drop| factor(draws.uniform(), drop)));
        }
        let branches = self.drop.len() as i64;
        let all =
            upload(&Tensor::f_from_slice(&factors)?.f_view([n, branches])?, x.device())?.f_to_kind(x.f_kind()?)?;
        let of_branch = |(branch, &drop): (usize, &f64)| {
            (drop > 0.0).then(|| Ok(all.f_select(1, branch as i64)?.f_view([n, 1, 1, 1])?)).transpose()
        };
        self.drop.iter().enumerate().map(of_branch).collect()
    }
}

/// The factor of a branch from a uniform number in [0, 1).
fn factor(uniform: f64, drop: f64) -> f64 {
    if uniform < drop { 0.0 } else { 1.0 / (1.0 - drop) }
}
