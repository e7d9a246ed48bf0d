//! The source of BatchNorm's mean and variance.

use crate::torch::AllReduce;

/// Source of the mean and the variance that BatchNorm normalises with.
#[derive(Debug, Clone, Copy)]
pub enum Statistics<'a> {
    /// The running averages, which stay unchanged.
    Running,
    /// The batch of this process. The pass also updates the running averages.
    Batch,
    /// The joined batch of all ranks, which holds `samples` samples. The pass also updates the running averages. Each
    /// layer's forward pass and backward pass is a collective call: all ranks make it, ranks without samples too.
    Global { ranks: &'a dyn AllReduce, samples: usize },
    /// No statistics: the weights are a [`FusedState`](super::FusedState), in which the running averages are part of
    /// the convolutions.
    Fused,
}

impl<'a> Statistics<'a> {
    /// Statistics of a training batch. `synchronised` is `trainer.sync_batchnorm`: true takes the joined batch of all
    /// ranks, which holds `samples` samples, false the batch of this process.
    pub fn for_training(ranks: &'a dyn AllReduce, synchronised: bool, samples: usize) -> Self {
        if synchronised { Statistics::Global { ranks, samples } } else { Statistics::Batch }
    }
}
