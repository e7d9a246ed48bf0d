//! One batch of samples.

use std::ops::Range;

use tch::Tensor;

use crate::random::{RandomStream, SampleKeys};

/// One global batch: this rank's shard of it as tensors, and the whole of it as positions.
pub struct Batch {
    // --- this rank's shard ---
    /// Images [n, C, S, S], channels-last; n may be 0.
    pub images: Tensor,
    /// Labels, int64 [n].
    pub labels: Tensor,
    /// The range of `global` that this rank holds.
    pub shard: Range<usize>,

    // --- the whole batch ---
    /// Positions of the samples of *all* ranks in the sampler's joined pools.
    pub global: Vec<usize>,
    /// Samples of this sampler in the whole optimizer step (all micro-steps, all ranks). Sums are divided by it.
    pub step_count: usize,

    // --- random keys ---
    /// Random stream for layers in train mode.
    pub layer_stream: RandomStream,
    /// Pass over the sampler, counted from 0.
    pub pass: u64,
}

impl Batch {
    /// Positions of this rank's samples in the joined pools.
    pub fn local(&self) -> &[usize] {
        &self.global[self.shard.clone()]
    }

    /// Random keys of this rank's samples, for layers that draw at random (dropout, stochastic depth). A sample is
    /// identified by its position in the joined pools.
    pub fn keys(&self) -> SampleKeys<'_> {
        SampleKeys { stream: &self.layer_stream, epoch: self.pass, samples: self.local() }
    }
}
