//! The MPI transport: blocking collectives on host memory (MPI standard, chapter 6).
//!
//! MPI counts are 32-bit: long tensors travel in chunks of [`MAX_BYTES`]. A call that fails inside MPI ends the job
//! there (MPI's default error handler), so every call that returns has succeeded.

use std::ops::Range;

use ::mpi::Threading;
use ::mpi::collective::SystemOperation;
use ::mpi::datatype::{Equivalence, PartitionMut};
use ::mpi::environment::Universe;
use ::mpi::topology::SimpleCommunicator;
use ::mpi::traits::{Communicator, CommunicatorCollectives, Destination, Root, Source};
use tch::{Kind, Tensor};

use super::transport::Transport;
use crate::error::{Error, ErrorKind, Result};
use crate::torch::{self, HostElement};

/// Largest number of bytes of one MPI call.
const MAX_BYTES: usize = 1 << 30;

/// All ranks of `MPI_COMM_WORLD`.
pub struct Mpi {
    rank: usize,
    size: usize,
    local_rank: usize,
    local_size: usize,
    /// Finalizes MPI when dropped.
    _universe: Universe,
}

impl Mpi {
    /// Starts MPI with full thread support: libtorch runs gradient hooks of a GPU on threads of its own, and the
    /// watchdog aborts from its own.
    pub fn start() -> Result<Self> {
        let (universe, provided) = ::mpi::initialize_with_threading(Threading::Multiple)
            .ok_or_else(|| Error::new(ErrorKind::Bug, "MPI was started twice"))?;
        if provided != Threading::Multiple {
            return Err(Error::usage(format!(
                "this MPI offers thread support {provided:?}; MPI_THREAD_MULTIPLE is needed"
            ))
            .hint("load another MPI module, or one built with thread support"));
        }
        let [rank, size] = [world().rank(), world().size()].map(|number| number as usize);
        let machine = world().split_shared(world().rank());
        let [local_rank, local_size] = [machine.rank(), machine.size()].map(|number| number as usize);
        Ok(Mpi { rank, size, local_rank, local_size, _universe: universe })
    }
}

/// The communicator of all ranks. Not stored in [`Mpi`]: rsmpi's communicators are bound to a thread.
fn world() -> SimpleCommunicator {
    SimpleCommunicator::world()
}

/// Ends all ranks at once with this exit code. Any thread may call it, also in the middle of a collective.
pub fn abort(code: i32) -> ! {
    world().abort(code)
}

/// Name and version of the library: the first line of its description, which can be long.
pub fn version() -> String {
    let text = ::mpi::environment::library_version().unwrap_or_default();
    text.lines().next().unwrap_or_default().split(", package").next().unwrap_or_default().to_owned()
}

impl Transport for Mpi {
    fn name(&self) -> &'static str {
        "mpi"
    }

    fn rank(&self) -> usize {
        self.rank
    }

    fn size(&self) -> usize {
        self.size
    }

    fn local_rank(&self) -> usize {
        self.local_rank
    }

    fn local_size(&self) -> usize {
        self.local_size
    }

    fn all_reduce(&self, tensor: &mut Tensor) -> Result<()> {
        match tensor.f_kind()? {
            Kind::Float => self.all_reduce_typed::<f32>(tensor),
            Kind::Double => self.all_reduce_typed::<f64>(tensor),
            Kind::Int64 => self.all_reduce_typed::<i64>(tensor),
            Kind::Half | Kind::BFloat16 => self.all_reduce_narrow(tensor),
            other => Err(Error::new(ErrorKind::Bug, format!("MPI cannot all-reduce {other:?} tensors"))),
        }
    }

    fn reduce(&self, tensor: &mut Tensor) -> Result<()> {
        match tensor.f_kind()? {
            Kind::Float => self.reduce_typed::<f32>(tensor),
            Kind::Double => self.reduce_typed::<f64>(tensor),
            Kind::Int64 => self.reduce_typed::<i64>(tensor),
            _ => {
                let mut sum = tensor.f_detach_copy()?;
                self.all_reduce(&mut sum)?;
                if self.rank() == 0 {
                    tensor.f_copy_(&sum)?;
                }
                Ok(())
            }
        }
    }

    fn broadcast(&self, tensor: &mut Tensor) -> Result<()> {
        self.broadcast_from(0, tensor)
    }

    fn all_gather_rows(&self, rows: &Tensor) -> Result<Tensor> {
        let mut size = rows.size();
        let counts = row_counts(&world(), self.size(), size[0]);
        size[0] = counts.iter().sum();
        let all = Tensor::f_empty(&size, (rows.f_kind()?, rows.device()))?;
        let mut start = 0;
        for (rank, &count) in counts.iter().enumerate() {
            let mut slot = all.f_narrow(0, start, count)?;
            if rank == self.rank() {
                slot.f_copy_(rows)?;
            }
            self.broadcast_from(rank, &mut slot)?;
            start += count;
        }
        Ok(all)
    }

    fn gather_rows(&self, rows: &Tensor) -> Result<Option<Tensor>> {
        let world = world();
        let rows = rows.f_contiguous()?;
        let size = rows.size();
        let counts = row_counts(&world, self.size(), size[0]);
        if self.rank() != 0 {
            let root = world.process_at_rank(0);
            for range in chunks(torch::host_length::<u8>(&rows)?, MAX_BYTES) {
                root.send(&torch::copy_from_tensor::<u8>(&rows, range)?[..]);
            }
            return Ok(None);
        }
        let mut all_size = size.clone();
        all_size[0] = counts.iter().sum();
        let all = Tensor::f_empty(&all_size, (rows.f_kind()?, rows.device()))?;
        all.f_narrow(0, 0, size[0])?.f_copy_(&rows)?;
        let mut start = size[0];
        for (rank, &count) in counts.iter().enumerate().skip(1) {
            let mut slot = all.f_narrow(0, start, count)?;
            let sender = world.process_at_rank(rank as i32);
            for range in chunks(torch::host_length::<u8>(&slot)?, MAX_BYTES) {
                let mut received = vec![0u8; range.len()];
                let _status = sender.receive_into(&mut received[..]);
                torch::copy_to_tensor(&mut slot, range.start, &received)?;
            }
            start += count;
        }
        Ok(Some(all))
    }

    fn all_gather_bytes(&self, bytes: &[u8]) -> Result<Vec<Vec<u8>>> {
        let mut lengths = vec![0i32; self.size()];
        let too_long = || Error::new(ErrorKind::Bug, "messages between ranks of more than 2 GiB");
        let length = i32::try_from(bytes.len()).map_err(|_| too_long())?;
        world().all_gather_into(&length, &mut lengths[..]);
        let (mut starts, mut end) = (Vec::with_capacity(lengths.len()), 0i32);
        for length in &lengths {
            starts.push(end);
            end = end.checked_add(*length).ok_or_else(too_long)?;
        }
        // Address 1 is MPI_IN_PLACE, and also that of an empty slice of bytes. One byte more gives real addresses.
        let mine = [bytes, &[0]].concat();
        let mut all = vec![0u8; end as usize + 1];
        let mut parts = PartitionMut::new(&mut all[..end as usize], &lengths[..], &starts[..]);
        world().all_gather_varcount_into(&mine[..bytes.len()], &mut parts);
        Ok(starts
            .iter()
            .zip(&lengths)
            .map(|(&start, &length)| all[start as usize..][..length as usize].to_vec())
            .collect())
    }

    fn barrier(&self) -> Result<()> {
        world().barrier();
        Ok(())
    }
}

impl Mpi {
    fn all_reduce_typed<T: HostElement + Equivalence>(&self, tensor: &mut Tensor) -> Result<()> {
        for range in chunks(torch::host_length::<T>(tensor)?, MAX_BYTES / size_of::<T>()) {
            let mine = torch::copy_from_tensor::<T>(tensor, range.clone())?;
            let mut sum = vec![T::default(); mine.len()];
            world().all_reduce_into(&mine[..], &mut sum[..], SystemOperation::sum());
            torch::copy_to_tensor(tensor, range.start, &sum)?;
        }
        Ok(())
    }

    fn reduce_typed<T: HostElement + Equivalence>(&self, tensor: &mut Tensor) -> Result<()> {
        let world = world();
        let root = world.process_at_rank(0);
        for range in chunks(torch::host_length::<T>(tensor)?, MAX_BYTES / size_of::<T>()) {
            let mine = torch::copy_from_tensor::<T>(tensor, range.clone())?;
            if self.rank() == 0 {
                let mut sum = vec![T::default(); mine.len()];
                root.reduce_into_root(&mine[..], &mut sum[..], SystemOperation::sum());
                torch::copy_to_tensor(tensor, range.start, &sum)?;
            } else {
                root.reduce_into(&mine[..], SystemOperation::sum());
            }
        }
        Ok(())
    }

    /// Replaces `tensor` by that of rank `sender`.
    fn broadcast_from(&self, sender: usize, tensor: &mut Tensor) -> Result<()> {
        let world = world();
        for range in chunks(torch::host_length::<u8>(tensor)?, MAX_BYTES) {
            let mut bytes = match self.rank() == sender {
                true => torch::copy_from_tensor::<u8>(tensor, range.clone())?,
                false => vec![0; range.len()],
            };
            world.process_at_rank(sender as i32).broadcast_into(&mut bytes[..]);
            if self.rank() != sender {
                torch::copy_to_tensor(tensor, range.start, &bytes)?;
            }
        }
        Ok(())
    }

    /// MPI has no 16-bit floats: every rank gathers all tensors, adds them in float32 in rank order, and rounds once.
    fn all_reduce_narrow(&self, tensor: &mut Tensor) -> Result<()> {
        let all = self.all_gather_rows(&tensor.f_detach()?.f_reshape([1, -1])?)?.f_to_kind(Kind::Float)?;
        let sum = all.f_narrow(0, 0, 1)?.f_detach_copy()?;
        for rank in 1..self.size() {
            let _ = sum.shallow_clone().f_add_(&all.f_narrow(0, rank as i64, 1)?)?;
        }
        tensor.f_copy_(&sum.f_view(&tensor.size()[..])?)?;
        Ok(())
    }
}

/// The ranges of at most `longest` elements that cover `length` elements, in order.
fn chunks(length: usize, longest: usize) -> impl Iterator<Item = Range<usize>> {
    (0..length).step_by(longest).map(move |start| start..length.min(start + longest))
}

/// Row counts of all ranks, in rank order.
fn row_counts(world: &SimpleCommunicator, ranks: usize, rows: i64) -> Vec<i64> {
    let mut counts = vec![0; ranks];
    world.all_gather_into(&rows, &mut counts[..]);
    counts
}
