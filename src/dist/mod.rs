//! The ranks of a run, and the only place that knows how many there are.
//!
//! A [`World`] answers three questions for everybody else: which share of the work is mine, how do I add up what the
//! others computed, and who writes. One rank is no special case: its share is everything, its sum is its own value.
//! Below it a [`Transport`] moves the bytes: [`solo`], [`mpi`].
//!
//! Every rank makes the same collective calls in the same order. [`order`] checks that where asked to, [`watchdog`]
//! ends the job when a rank waits too long for the others, [`launch`] finds out how this process was started.

pub mod launch;
mod mpi;
mod order;
mod solo;
mod watchdog;
mod world;

use tch::Tensor;

use crate::error::Result;

pub use solo::Solo;
pub use world::{Counts, Traffic, World};

/// Moves tensors and bytes between ranks. Every rank makes the same calls in the same order.
///
/// Collectives work on dense host tensors in their own dtype.
pub trait Transport: Send + Sync {
    /// What the log calls it: `solo`, `mpi`.
    fn name(&self) -> &'static str;
    /// This process among all, 0-based.
    fn rank(&self) -> usize;
    /// Number of processes.
    fn size(&self) -> usize;
    /// Processes on this machine, this one among them.
    fn local_size(&self) -> usize;
    /// Whether sums of a GPU's tensors are only put into its queue, so that the host goes on at once.
    fn is_queued(&self) -> bool {
        false
    }
    /// Replaces `tensor` by the element-wise sum over all ranks. The same bits arrive everywhere.
    fn all_reduce_sum(&self, tensor: &mut Tensor) -> Result<()>;
    /// Replaces `tensor` by that of rank 0; shape and dtype agree.
    fn broadcast(&self, tensor: &mut Tensor) -> Result<()>;
    /// Concatenates the rows (dimension 0) of all ranks, in rank order, on rank 0; other ranks get `None`.
    /// Row shapes and dtypes agree, row counts may differ and may be 0.
    fn gather_rows(&self, rows: &Tensor) -> Result<Option<Tensor>>;
    /// The bytes of every rank, in rank order, on every rank. Lengths may differ.
    fn all_gather_bytes(&self, bytes: &[u8]) -> Result<Vec<Vec<u8>>>;
    /// Returns when every rank has called it.
    fn barrier(&self) -> Result<()>;
}
