//! The ranks of a run, and the only place that knows how many there are.
//!
//! A [`World`] answers three questions for everybody else: which share of the work is mine, how do I add up what the
//! others computed, and who writes. One rank is no special case: its share is everything, its sum is its own value.
//! Below it a [`Transport`] moves the bytes: [`solo`], [`mpi`] for host memory, [`nccl`] for the memory of GPUs.
//!
//! Every rank makes the same collective calls in the same order. [`order`] checks that where asked to, [`watchdog`]
//! ends the job when a rank waits too long for the others, [`launch`] finds out how this process was started,
//! [`placement`] which GPU is whose.

pub mod launch;
mod mpi;
pub mod nccl;
mod order;
pub mod placement;
mod solo;
mod watchdog;
mod world;

use tch::Tensor;

use crate::error::Result;

pub use nccl::Overlap;
pub use solo::Solo;
pub use world::{Counts, Traffic, World};

/// Moves tensors and bytes between ranks. Every rank makes the same calls in the same order.
///
/// Collectives work on dense tensors in their own dtype. Results are there for whatever the calling thread computes
/// next; on a GPU that is an order of the device's work, and the host does not wait.
pub trait Transport: Send + Sync {
    /// What the log calls it: `solo`, `mpi`, `nccl`.
    fn name(&self) -> &'static str;
    /// This process among all, 0-based.
    fn rank(&self) -> usize;
    /// Number of processes.
    fn size(&self) -> usize;
    /// This process among those on its machine, 0-based.
    fn local_rank(&self) -> usize;
    /// Processes on this machine, this one among them.
    fn local_size(&self) -> usize;
    /// Whether sums of a GPU's tensors are only put into its queue, so that the host goes on at once.
    fn is_queued(&self) -> bool {
        false
    }
    /// Replaces `tensor` by the element-wise sum over all ranks. The same bits arrive everywhere.
    /// float32, float64, float16, bfloat16, int64.
    fn all_reduce(&self, tensor: &mut Tensor) -> Result<()>;
    /// Begins the same. Until [`finish_all_reduces`](Self::finish_all_reduces) the tensor's memory stays alive, is not written, and
    /// holds anything.
    fn start_all_reduce(&self, tensor: &mut Tensor) -> Result<()> {
        self.all_reduce(tensor)
    }
    /// What was begun is there for all that the calling thread computes from here on.
    fn finish_all_reduces(&self) -> Result<()> {
        Ok(())
    }
    /// From now on the time of sums that are begun is taken, from nothing. Whether this transport has any: on host
    /// memory a sum that is begun is done.
    fn trace_sums(&self) -> bool {
        false
    }
    /// Of the traced sums that are done.
    fn overlap(&self) -> Result<Option<Overlap>> {
        Ok(None)
    }
    /// The calling thread has put a piece of work, with collectives or without, into the device's queue. It should come
    /// to its end as a collective should.
    fn watch_queue(&self, what: &str) -> Result<()> {
        let _ = what;
        Ok(())
    }
    /// Replaces `tensor` of rank 0 by the element-wise sum over all ranks; the others keep theirs.
    fn reduce(&self, tensor: &mut Tensor) -> Result<()>;
    /// Replaces `tensor` by that of rank 0; shape and dtype agree.
    fn broadcast(&self, tensor: &mut Tensor) -> Result<()>;
    /// Concatenates the rows (dimension 0) of all ranks, in rank order, on every rank. Row shapes and dtypes agree, row
    /// counts may differ and may be 0.
    fn all_gather_rows(&self, rows: &Tensor) -> Result<Tensor>;
    /// The same on rank 0 alone; other ranks get `None`. The result may lie in host memory.
    fn gather_rows(&self, rows: &Tensor) -> Result<Option<Tensor>>;
    /// The bytes of every rank, in rank order, on every rank. Lengths may differ.
    fn all_gather_bytes(&self, bytes: &[u8]) -> Result<Vec<Vec<u8>>>;
    /// Returns when every rank has called it.
    fn barrier(&self) -> Result<()>;
}
