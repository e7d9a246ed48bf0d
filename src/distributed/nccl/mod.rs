//! The NCCL transport: collectives on the memory of GPUs.
//!
//! NCCL works on a stream of its own, ordered against libtorch's current stream by events: it waits for what computes
//! its input, and what follows waits for it. The host does neither. Sums that are begun
//! ([`Transport::start_all_reduce`]) let the current stream go on until [`Transport::finish_all_reduces`]: so gradients
//! are summed beneath the backward pass.
//!
//! Messages, host tensors and barriers stay with the transport below, MPI. The two never wait for each other: MPI sees
//! host memory only, and every rank has launched its part of a collective before it turns to MPI again.
//!
//! The bindings are our own, a table of twelve functions, in three layers: [`raw`] is the library as it is, [`library`]
//! makes errors of its codes, [`comm`] makes it safe to call from libtorch's threads; [`find`] opens it at run time.
//! There is no crate to take instead: `nccl-rs` does not exist, and `cudarc` panics where there is no library or a
//! symbol lacks, and does not look for `libnccl.so.2`, the only name that NCCL's packages install.

mod comm;
mod find;
mod library;
mod monitor;
mod raw;
mod timeline;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tch::{Device, Kind, Tensor};

use self::comm::Communicator;
use self::library::Collective;
use self::monitor::{Monitor, Unfinished};
use self::timeline::Timeline;
use super::{Transport, watchdog};
use crate::error::{Error, ErrorKind, Result};
use crate::torch::{self, CommStream, Event};

pub use library::{Library, Version};
pub use timeline::Overlap;

/// For the device, which has little left to do at the end of a run, and again for NCCL.
const FINISH_LIMIT: Duration = Duration::from_secs(30);

pub struct Nccl {
    host: Arc<dyn Transport>,
    device: Device,
    comm: Arc<Communicator>,
    stream: CommStream,
    unfinished: Arc<Unfinished>,
    monitor: Monitor,
    /// Where sums are traced.
    timeline: Mutex<Option<Timeline<Event>>>,
}

impl Nccl {
    /// Joins all ranks of `host`, each with its own `device`. A collective call; an error when it takes longer than
    /// `launch.timeout_seconds`.
    pub fn start(library: &Arc<Library>, host: Arc<dyn Transport>, device: Device) -> Result<Self> {
        torch::set_device(device)?;
        let id = if host.rank() == 0 { library.unique_id()? } else { raw::UniqueId([0; 128]) };
        let mut shared = Tensor::f_from_slice(&id.0)?;
        host.broadcast(&mut shared)?;
        let mut id = raw::UniqueId([0; 128]);
        id.0.copy_from_slice(torch::host_bytes_mut(&mut shared)?);

        let stream = CommStream::new(device)?;
        let place = (host.rank(), host.size());
        let comm = Arc::new(Communicator::start(library, id, place, device, watchdog::limit())?);
        let unfinished = Arc::<Unfinished>::default();
        let monitor = Monitor::start(&comm, &unfinished, device);
        Ok(Nccl { host, device, comm, stream, unfinished, monitor, timeline: Mutex::default() })
    }

    /// Whether NCCL carries this tensor.
    fn carries(&self, tensor: &Tensor) -> bool {
        tensor.device() == self.device
    }

    /// Launches a collective behind what computes its input.
    ///
    /// The memory is that of dense tensors that [`carries`](Self::carries) accepts; it is kept, and left alone, until
    /// the current stream has joined this one.
    fn launch(&self, collective: Collective) -> Result<()> {
        self.stream.follow_current()?;
        // SAFETY: address and length of tensors on the communicator's device, see above; this module's callers hold
        // them, or their own callers have promised to.
        let launched = unsafe { self.comm.launch(collective, self.stream.handle()) };
        launched.map_err(|error| error.context(watchdog::current_call()))?;
        self.watch(watchdog::current_call())
    }

    /// From here on the device should come to the present end of the stream within the limit.
    fn watch(&self, what: String) -> Result<()> {
        if !self.stream.is_capturing() {
            self.unfinished.add(what, self.stream.event()?);
        }
        Ok(())
    }

    /// The current stream goes on when all that was launched is done, sums that were begun before included.
    fn wait_for_all(&self) -> Result<()> {
        if let Some(timeline) = self.timeline().as_mut().filter(|timeline| timeline.has_begun()) {
            timeline.wait_from(Event::timed_now(self.device)?)?;
        }
        self.stream.join_current()
    }

    fn timeline(&self) -> MutexGuard<'_, Option<Timeline<Event>>> {
        self.timeline.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn reduction(tensor: &Tensor) -> Result<Option<(*mut std::ffi::c_void, usize, std::ffi::c_int)>> {
        let dtype = match tensor.f_kind()? {
            Kind::Float => raw::FLOAT32,
            Kind::Double => raw::FLOAT64,
            Kind::Half => raw::FLOAT16,
            Kind::BFloat16 => raw::BFLOAT16,
            Kind::Int64 => raw::INT64,
            other => return Err(Error::new(ErrorKind::Bug, format!("no NCCL sum of {other:?} tensors"))),
        };
        let (data, count) = torch::dense_memory(tensor)?;
        Ok((count > 0).then_some((data.cast(), count, dtype)))
    }
}

/// Bytes of all elements.
fn bytes_of(tensor: &Tensor) -> Result<usize> {
    Ok(tensor.numel() * tensor.f_kind()?.elt_size_in_bytes())
}

impl Transport for Nccl {
    fn name(&self) -> &'static str {
        "nccl"
    }

    fn rank(&self) -> usize {
        self.host.rank()
    }

    fn size(&self) -> usize {
        self.host.size()
    }

    fn local_rank(&self) -> usize {
        self.host.local_rank()
    }

    fn local_size(&self) -> usize {
        self.host.local_size()
    }

    fn is_queued(&self) -> bool {
        true
    }

    fn all_reduce(&self, tensor: &mut Tensor) -> Result<()> {
        if !self.carries(tensor) {
            return self.host.all_reduce(tensor);
        }
        let Some((data, count, dtype)) = Self::reduction(tensor)? else { return Ok(()) };
        self.launch(Collective::AllReduce { data, count, dtype })?;
        self.wait_for_all()
    }

    fn start_all_reduce(&self, tensor: &mut Tensor) -> Result<()> {
        if !self.carries(tensor) {
            return self.host.all_reduce(tensor);
        }
        let Some((data, count, dtype)) = Self::reduction(tensor)? else { return Ok(()) };
        let sum = Collective::AllReduce { data, count, dtype };
        match &mut *self.timeline() {
            None => self.launch(sum),
            Some(timeline) => {
                self.stream.follow_current()?;
                let begin = self.stream.timed_event()?;
                self.launch(sum)?;
                timeline.sum(begin, self.stream.timed_event()?);
                Ok(())
            }
        }
    }

    fn finish_all_reduces(&self) -> Result<()> {
        self.wait_for_all()
    }

    fn trace_sums(&self) -> bool {
        *self.timeline() = Some(Timeline::default());
        true
    }

    fn overlap(&self) -> Result<Option<Overlap>> {
        self.timeline().as_mut().map(Timeline::overlap).transpose()
    }

    fn watch_queue(&self, what: &str) -> Result<()> {
        self.stream.follow_current()?;
        self.watch(what.to_owned())
    }

    fn reduce(&self, tensor: &mut Tensor) -> Result<()> {
        if !self.carries(tensor) {
            return self.host.reduce(tensor);
        }
        let Some((data, count, dtype)) = Self::reduction(tensor)? else { return Ok(()) };
        self.launch(Collective::Reduce { data, count, dtype })?;
        self.wait_for_all()
    }

    fn broadcast(&self, tensor: &mut Tensor) -> Result<()> {
        if !self.carries(tensor) {
            return self.host.broadcast(tensor);
        }
        let (data, bytes) = (torch::dense_memory(tensor)?.0.cast(), bytes_of(tensor)?);
        if bytes == 0 {
            return Ok(());
        }
        self.launch(Collective::Broadcast { data, bytes })?;
        self.wait_for_all()
    }

    fn all_gather_rows(&self, rows: &Tensor) -> Result<Tensor> {
        if !self.carries(rows) {
            return self.host.all_gather_rows(rows);
        }
        let counts = self.host.all_gather_bytes(&rows.size()[0].to_le_bytes())?;
        let counts: Vec<i64> = counts
            .iter()
            .map(|bytes| bytes.iter().rev().fold(0, |count, &byte| count << 8 | i64::from(byte)))
            .collect();
        // NCCL wants the same length of all: shorter parts are filled up, and the filling is left out afterwards.
        let longest = counts.iter().copied().max().unwrap_or(0);
        let (kind, mut size) = (rows.f_kind()?, rows.size());
        size[0] = longest;
        let mine = Tensor::f_zeros(&size, (kind, self.device))?;
        mine.f_narrow(0, 0, rows.size()[0])?.f_copy_(rows)?;
        size[0] = longest * counts.len() as i64;
        let all = Tensor::f_empty(&size, (kind, self.device))?;
        if all.numel() > 0 {
            let (from, to) = (torch::dense_memory(&mine)?.0.cast_const().cast(), torch::dense_memory(&all)?.0.cast());
            self.launch(Collective::AllGather { from, to, bytes: bytes_of(&mine)? })?;
            self.wait_for_all()?;
        }
        let part = |(rank, &count): (usize, &i64)| Ok(all.f_narrow(0, longest * rank as i64, count)?);
        let parts = counts.iter().enumerate().map(part).collect::<Result<Vec<_>>>()?;
        Ok(Tensor::f_cat(&parts, 0)?)
    }

    /// Through host memory: what rank 0 collects in this way it reads on the host.
    fn gather_rows(&self, rows: &Tensor) -> Result<Option<Tensor>> {
        self.host.gather_rows(&rows.f_to_device(Device::Cpu)?)
    }

    fn all_gather_bytes(&self, bytes: &[u8]) -> Result<Vec<Vec<u8>>> {
        self.host.all_gather_bytes(bytes)
    }

    fn barrier(&self) -> Result<()> {
        self.host.barrier()
    }
}

/// The end of a run in order: the stream is idle, then the communicator ends on all ranks, then MPI may.
impl Drop for Nccl {
    fn drop(&mut self) {
        let deadline = Instant::now() + FINISH_LIMIT;
        self.monitor.stop();
        while !self.unfinished.is_idle() && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(1));
        }
        if !self.unfinished.is_idle() {
            // Its end would wait for the device, too.
            return tracing::warn!(
                "the GPU did not come to the end of its work within {:.0} s",
                FINISH_LIMIT.as_secs_f64()
            );
        }
        if let Err(error) = self.comm.finish(FINISH_LIMIT) {
            tracing::warn!("{}", error.message());
        }
    }
}
