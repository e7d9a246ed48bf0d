//! An all-reduce inside the autograd graph, and the trait of the ranks that carry it out.

use std::fmt::Debug;
use std::sync::Arc;

use tch::Tensor;

use super::autograd::symmetric_map;
use crate::error::Result;

/// Ranks that all-reduce a tensor. SyncBatchNorm needs to know no more of them.
pub trait AllReduce: Debug + Send + Sync {
    /// This process among all, 0-based.
    fn rank(&self) -> usize;
    /// Number of processes.
    fn size(&self) -> usize;
    /// Replaces `tensor` by its element-wise sum over all ranks. A collective call.
    fn all_reduce(&self, tensor: &mut Tensor) -> Result<()>;
    /// A handle on the same ranks for an autograd graph, which may outlive the caller.
    fn handle(&self) -> Arc<dyn AllReduce>;
}

/// The element-wise sum of `tensor` over all ranks. Autograd differentiates it any number of times.
///
/// Each rank's backward pass then computes the gradients of the *sum* of all ranks' losses. A backward pass through the
/// result is a collective call: all ranks make it, in the same graph.
pub fn all_reduce_in_graph(ranks: &dyn AllReduce, tensor: &Tensor) -> Result<Tensor> {
    let ranks = ranks.handle();
    symmetric_map(tensor, move |tensor| ranks.all_reduce(tensor))
}
