//! The ranks of a run, and the only place that knows how many there are.
//!
//! A [`World`] answers three questions for everybody else: which share of the work is mine, how do I add up what the
//! others computed, and who writes. One rank is no special case: its share is everything, its sum is its own value.
//! Below it a [`Transport`] moves the bytes.

mod solo;

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::ops::Range;

use tch::Tensor;

use crate::error::Result;

pub use solo::Solo;

/// Moves tensors between ranks. Every rank makes the same calls in the same order.
///
/// Tensors are contiguous host or device memory, as the transport says; a collective works in the tensor's own dtype.
pub trait Transport {
    /// What the log calls it: `solo`, `mpi`, `nccl`.
    fn name(&self) -> &'static str;
    /// This process among all, 0-based.
    fn rank(&self) -> usize;
    /// Number of processes.
    fn size(&self) -> usize;
    /// Replaces `tensor` by the element-wise sum over all ranks. The same bits arrive everywhere.
    fn all_reduce_sum(&self, tensor: &mut Tensor) -> Result<()>;
    /// Concatenates the rows (dimension 0) of all ranks, in rank order, on rank 0; other ranks get `None`.
    /// Row shapes and dtypes agree, row counts may differ and may be 0.
    fn gather_rows(&self, rows: &Tensor) -> Result<Option<Tensor>>;
    /// Returns when every rank has called it.
    fn barrier(&self) -> Result<()>;
    /// Ends every rank at once with this exit code.
    fn abort(&self, code: i32) -> !;
}

/// Bytes and calls of the collectives so far, for `run.json`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
pub struct Traffic {
    pub collectives: u64,
    pub bytes_reduced: u64,
}

/// All ranks of the run, seen from this one.
pub struct World {
    transport: Box<dyn Transport>,
    traffic: Cell<Traffic>,
    work: RefCell<BTreeMap<String, u64>>,
}

impl World {
    pub fn new(transport: Box<dyn Transport>) -> Self {
        World { transport, traffic: Cell::default(), work: RefCell::default() }
    }

    /// A world of this process alone.
    pub fn solo() -> Self {
        Self::new(Box::new(Solo))
    }

    pub fn backend(&self) -> &'static str {
        self.transport.name()
    }

    pub fn rank(&self) -> usize {
        self.transport.rank()
    }

    pub fn size(&self) -> usize {
        self.transport.size()
    }

    /// Whether this rank writes files and speaks to the user.
    pub fn is_root(&self) -> bool {
        self.rank() == 0
    }

    pub fn traffic(&self) -> Traffic {
        self.traffic.get()
    }

    /// Notes that this rank forwarded `images` more images for the use `what`.
    pub fn tally(&self, what: &str, images: usize) {
        *self.work.borrow_mut().entry(what.to_owned()).or_default() += images as u64;
    }

    /// Images that this rank forwarded so far, by use.
    pub fn work(&self) -> BTreeMap<String, u64> {
        self.work.borrow().clone()
    }

    /// This rank's contiguous share of `n` items. Shares differ by at most one item; the first ranks get the larger
    /// ones; a share may be empty.
    pub fn share(&self, n: usize) -> Range<usize> {
        share_of(n, self.rank(), self.size())
    }

    /// Whether whole job number `job` (an evaluation batch, say) is this rank's.
    ///
    /// Jobs are dealt in contiguous blocks, so that gathering the results in rank order restores their order.
    pub fn deals(&self, job: usize, jobs: usize) -> bool {
        self.share(jobs).contains(&job)
    }

    /// Replaces `tensor` by its element-wise sum over all ranks.
    pub fn sum(&self, tensor: &mut Tensor) -> Result<()> {
        self.count((tensor.numel() * tensor.kind().elt_size_in_bytes()) as u64);
        self.transport.all_reduce_sum(tensor)
    }

    /// Rows of all ranks in rank order at rank 0; `None` elsewhere.
    pub fn gather_rows(&self, rows: &Tensor) -> Result<Option<Tensor>> {
        self.count(0);
        self.transport.gather_rows(rows)
    }

    pub fn barrier(&self) -> Result<()> {
        self.count(0);
        self.transport.barrier()
    }

    /// Ends every rank at once with this exit code.
    pub fn abort(&self, code: i32) -> ! {
        self.transport.abort(code)
    }

    fn count(&self, bytes: u64) {
        let traffic = self.traffic.get();
        self.traffic
            .set(Traffic { collectives: traffic.collectives + 1, bytes_reduced: traffic.bytes_reduced + bytes });
    }
}

/// Share of `rank` among `size` ranks: see [`World::share`].
fn share_of(n: usize, rank: usize, size: usize) -> Range<usize> {
    let (small, larger) = (n / size, n % size);
    let start = rank * small + rank.min(larger);
    start..start + small + usize::from(rank < larger)
}

#[cfg(test)]
mod tests {
    use super::share_of;

    #[test]
    fn shares_are_contiguous_cover_everything_once_and_differ_by_one() {
        for n in [0, 1, 2, 3, 97, 128] {
            for size in 1..=5 {
                let shares: Vec<_> = (0..size).map(|rank| share_of(n, rank, size)).collect();
                let joined: Vec<usize> = shares.iter().cloned().flatten().collect();
                assert_eq!(joined, (0..n).collect::<Vec<_>>(), "n {n}, {size} ranks");
                let (shortest, longest) = (shares.iter().map(|s| s.len()).min(), shares.iter().map(|s| s.len()).max());
                assert!(longest.unwrap() - shortest.unwrap() <= 1);
            }
        }
    }
}
