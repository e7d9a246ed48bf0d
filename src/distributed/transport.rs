//! The interface between [`World`](crate::distributed::World) and the libraries that move data between ranks.

use tch::Tensor;

use super::overlap::Overlap;
use crate::error::Result;

/// Moves tensors and bytes between ranks. Every rank makes the same collective calls in the same order.
///
/// Collectives work on dense tensors in their own dtype. The calling thread's next operations see their results. On a
/// GPU the order of work on the device ensures that, and the host does not wait.
pub trait Transport: Send + Sync {
    /// Name in the log: `solo`, `mpi`, `nccl`.
    fn name(&self) -> &'static str;
    /// This process among all, 0-based.
    fn rank(&self) -> usize;
    /// Number of processes.
    fn size(&self) -> usize;
    /// This process among those on its machine, 0-based.
    fn local_rank(&self) -> usize;
    /// Number of processes on this machine, this one included.
    fn local_size(&self) -> usize;
    /// Whether collectives on a GPU's tensors are only enqueued, so that the host goes on at once.
    fn is_asynchronous(&self) -> bool {
        false
    }
    /// Replaces `tensor` by the element-wise sum over all ranks. All ranks get the same bits.
    /// float32, float64, float16, bfloat16, int64.
    fn all_reduce(&self, tensor: &mut Tensor) -> Result<()>;
    /// Starts an all-reduce. Until [`finish_all_reduces`](Self::finish_all_reduces) the transport keeps the tensor's
    /// memory alive, its values are undefined, and they must not be written.
    fn start_all_reduce(&self, tensor: &mut Tensor) -> Result<()> {
        self.all_reduce(tensor)
    }
    /// Orders the calling thread's later operations after all started all-reduces. No collective call.
    fn finish_all_reduces(&self) -> Result<()> {
        Ok(())
    }
    /// Starts to measure the time of started all-reduces, from zero. False if this transport has no asynchronous
    /// all-reduces: on host memory an all-reduce is done when its start returns.
    fn trace_all_reduces(&self) -> bool {
        false
    }
    /// The overlap of the traced all-reduces that are done; none if they are not traced.
    fn overlap(&self) -> Result<Option<Overlap>> {
        Ok(None)
    }
    /// Tells the transport that the calling thread has enqueued `work` on the device, with or without collectives. The
    /// transport ends the job if the device does not finish it within the limit for collectives.
    fn watch_queued_work(&self, work: &str) -> Result<()> {
        let _ = work;
        Ok(())
    }
    /// Replaces `tensor` of rank 0 by the element-wise sum over all ranks. The other tensors do not change.
    fn reduce(&self, tensor: &mut Tensor) -> Result<()>;
    /// Replaces `tensor` by that of rank 0. All ranks pass the same shape and dtype.
    fn broadcast(&self, tensor: &mut Tensor) -> Result<()>;
    /// Concatenates the rows (dimension 0) of all ranks, in rank order, on every rank. All ranks pass the same row
    /// shape and dtype; row counts may differ and may be 0.
    fn all_gather_rows(&self, rows: &Tensor) -> Result<Tensor>;
    /// Like [`all_gather_rows`](Self::all_gather_rows), but only rank 0 gets the result, maybe in host memory. The
    /// other ranks get `None`.
    fn gather_rows(&self, rows: &Tensor) -> Result<Option<Tensor>>;
    /// The bytes of every rank, in rank order, on every rank. Lengths may differ.
    fn all_gather_bytes(&self, bytes: &[u8]) -> Result<Vec<Vec<u8>>>;
    /// Returns when every rank has called it.
    fn barrier(&self) -> Result<()>;
}
