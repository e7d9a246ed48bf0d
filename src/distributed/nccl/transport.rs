//! The NCCL transport.
//!
//! NCCL works on a stream of its own, ordered against libtorch's current stream by events: a collective waits for the
//! work that computes its input, and later work on the current stream waits for the collective. The host waits for
//! neither. After [`Transport::start_all_reduce`] the current stream goes on until [`Transport::finish_all_reduces`],
//! so gradients are all-reduced during the backward pass.
//!
//! The host transport below, MPI, carries messages, host tensors and barriers. The two never wait for each other: MPI
//! sees host memory only, and every rank has launched its part of a collective before it calls MPI again.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tch::{Device, Kind, Tensor};

use super::comm::Communicator;
use super::library::{NcclCollective, NcclLibrary};
use super::monitor::{Monitor, UnfinishedCollectives};
use super::raw;
use super::timeline::Timeline;
use crate::distributed::overlap::Overlap;
use crate::distributed::transport::Transport;
use crate::distributed::watchdog;
use crate::error::{Error, ErrorKind, Result};
use crate::torch::{self, CommStream, Event};

/// Limit for the rest of the device's work at the end of a run, and again for the end of NCCL.
const FINISH_LIMIT: Duration = Duration::from_secs(30);

/// The ranks of a host transport, each with a GPU of its own.
pub struct Nccl {
    /// Carries messages and host tensors.
    host: Arc<dyn Transport>,
    device: Device,
    comm: Arc<Communicator>,
    stream: CommStream,
    unfinished: Arc<UnfinishedCollectives<Event>>,
    /// Handles on the tensors of launched collectives for which the current stream does not wait yet. Their memory must
    /// not serve other tensors before.
    in_use: Mutex<Vec<Tensor>>,
    monitor: Monitor,
    /// None unless all-reduces are traced.
    timeline: Mutex<Option<Timeline<Event>>>,
}

impl Nccl {
    /// Joins all ranks of `host`, each with its own `device`. A collective call. An error if it takes longer than
    /// `launch.timeout_seconds`.
    pub fn start(library: &Arc<NcclLibrary>, host: Arc<dyn Transport>, device: Device) -> Result<Self> {
        torch::set_device(device)?;
        let id = if host.rank() == 0 { library.unique_id()? } else { raw::UniqueId([0; 128]) };
        let mut shared = Tensor::f_from_slice(&id.0)?;
        host.broadcast(&mut shared)?;
        let mut id = raw::UniqueId([0; 128]);
        id.0.copy_from_slice(&torch::copy_from_tensor::<u8>(&shared, 0..128)?);

        let stream = CommStream::new(device)?;
        let rank_and_size = (host.rank(), host.size());
        let comm = Arc::new(Communicator::start(library, id, rank_and_size, device, watchdog::limit())?);
        let unfinished = Arc::<UnfinishedCollectives<Event>>::default();
        let monitor = Monitor::start(&comm, &unfinished, device);
        Ok(Nccl {
            host,
            device,
            comm,
            stream,
            unfinished,
            in_use: Mutex::default(),
            monitor,
            timeline: Mutex::default(),
        })
    }

    /// Whether NCCL carries this tensor.
    fn carries(&self, tensor: &Tensor) -> bool {
        tensor.device() == self.device
    }

    /// Launches a collective on the memory of `tensors` after the work of the current stream, which computes its input.
    /// Keeps the tensors until the current stream waits for the collective.
    ///
    /// # Safety
    /// `collective` holds addresses and lengths of these tensors, which are dense and on the communicator's device.
    unsafe fn launch(&self, collective: NcclCollective, tensors: &[&Tensor]) -> Result<()> {
        self.stream.follow_current()?;
        let handles = tensors.iter().map(|tensor| tensor.shallow_clone());
        self.in_use.lock().unwrap_or_else(PoisonError::into_inner).extend(handles);
        // SAFETY: the caller vouches for the addresses, and `in_use` holds the memory.
        let launched = unsafe { self.comm.launch(collective, self.stream.handle()) };
        launched.map_err(|error| error.context(watchdog::last_call()))?;
        self.watch(watchdog::last_call())
    }

    /// Launches an all-reduce of a tensor that [`carries`](Self::carries) accepts.
    fn launch_all_reduce(&self, tensor: &Tensor) -> Result<()> {
        let Some((data, count, dtype)) = Self::reduction(tensor)? else { return Ok(()) };
        // SAFETY: address and length of this tensor, which `reduction` found to be dense.
        unsafe { self.launch(NcclCollective::AllReduce { data, count, dtype }, &[tensor]) }
    }

    /// Watches the work that the stream holds now: the device should finish it within the limit.
    fn watch(&self, work: String) -> Result<()> {
        if !self.stream.is_capturing() {
            self.unfinished.add(work, self.stream.event()?);
        }
        Ok(())
    }

    /// The current stream waits for all launched collectives, started all-reduces included.
    fn wait_for_all(&self) -> Result<()> {
        if let Some(timeline) = self.timeline().as_mut().filter(|timeline| timeline.has_started()) {
            timeline.wait_from(Event::timed_now(self.device)?)?;
        }
        // Another thread may launch the next collective meanwhile: its tensors stay.
        let launched = std::mem::take(&mut *self.in_use.lock().unwrap_or_else(PoisonError::into_inner));
        self.stream.join_current()?;
        drop(launched);
        Ok(())
    }

    fn timeline(&self) -> MutexGuard<'_, Option<Timeline<Event>>> {
        self.timeline.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Address, number of elements and NCCL dtype of a dense tensor to reduce; none if it is empty.
    fn reduction(tensor: &Tensor) -> Result<Option<(*mut std::ffi::c_void, usize, std::ffi::c_int)>> {
        let dtype = match tensor.f_kind()? {
            Kind::Float => raw::FLOAT32,
            Kind::Double => raw::FLOAT64,
            Kind::Half => raw::FLOAT16,
            Kind::BFloat16 => raw::BFLOAT16,
            Kind::Int64 => raw::INT64,
            other => return Err(Error::new(ErrorKind::Bug, format!("NCCL cannot all-reduce {other:?} tensors"))),
        };
        let (data, count) = torch::dense_memory(tensor)?;
        Ok((count > 0).then_some((data.cast(), count, dtype)))
    }
}

/// Bytes of all elements of `tensor`.
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

    fn is_asynchronous(&self) -> bool {
        true
    }

    fn all_reduce(&self, tensor: &mut Tensor) -> Result<()> {
        if !self.carries(tensor) {
            return self.host.all_reduce(tensor);
        }
        self.launch_all_reduce(tensor)?;
        self.wait_for_all()
    }

    fn start_all_reduce(&self, tensor: &mut Tensor) -> Result<()> {
        if !self.carries(tensor) {
            return self.host.all_reduce(tensor);
        }
        if tensor.numel() == 0 {
            return Ok(());
        }
        match &mut *self.timeline() {
            None => self.launch_all_reduce(tensor),
            Some(timeline) => {
                self.stream.follow_current()?;
                let begin = self.stream.timed_event()?;
                self.launch_all_reduce(tensor)?;
                timeline.add(begin, self.stream.timed_event()?);
                Ok(())
            }
        }
    }

    fn finish_all_reduces(&self) -> Result<()> {
        self.wait_for_all()
    }

    fn trace_all_reduces(&self) -> bool {
        *self.timeline() = Some(Timeline::default());
        true
    }

    fn overlap(&self) -> Result<Option<Overlap>> {
        self.timeline().as_mut().map(Timeline::overlap).transpose()
    }

    fn watch_queued_work(&self, work: &str) -> Result<()> {
        self.stream.follow_current()?;
        self.watch(work.to_owned())
    }

    fn reduce(&self, tensor: &mut Tensor) -> Result<()> {
        if !self.carries(tensor) {
            return self.host.reduce(tensor);
        }
        let Some((data, count, dtype)) = Self::reduction(tensor)? else { return Ok(()) };
        // SAFETY: address and length of this tensor, which `reduction` found to be dense.
        unsafe { self.launch(NcclCollective::Reduce { data, count, dtype }, &[tensor]) }?;
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
        // SAFETY: address and length of this tensor, which `dense_memory` found to be dense.
        unsafe { self.launch(NcclCollective::Broadcast { data, bytes }, &[tensor]) }?;
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
        // NCCL takes the same length from all ranks: shorter parts are padded with zeros, and the padding is removed
        // from the result.
        let longest = counts.iter().copied().max().unwrap_or(0);
        let (kind, mut size) = (rows.f_kind()?, rows.size());
        size[0] = longest;
        let mine = Tensor::f_zeros(&size, (kind, self.device))?;
        mine.f_narrow(0, 0, rows.size()[0])?.f_copy_(rows)?;
        size[0] = longest * counts.len() as i64;
        let all = Tensor::f_empty(&size, (kind, self.device))?;
        if all.numel() > 0 {
            let (from, to) = (torch::dense_memory(&mine)?.0.cast_const().cast(), torch::dense_memory(&all)?.0.cast());
            let all_gather = NcclCollective::AllGather { from, to, bytes: bytes_of(&mine)? };
            // SAFETY: addresses and lengths of these tensors, which `dense_memory` found to be dense; `all` holds the
            // elements of `mine` for each rank.
            unsafe { self.launch(all_gather, &[&mine, &all]) }?;
            self.wait_for_all()?;
        }
        let part = |(rank, &count): (usize, &i64)| Ok(all.f_narrow(0, longest * rank as i64, count)?);
        let parts = counts.iter().enumerate().map(part).collect::<Result<Vec<_>>>()?;
        Ok(Tensor::f_cat(&parts, 0)?)
    }

    /// Through host memory, where rank 0 reads the rows.
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

/// Ends a run in order: first the stream is idle, then the communicator ends on all ranks, then MPI may end.
impl Drop for Nccl {
    fn drop(&mut self) {
        let deadline = Instant::now() + FINISH_LIMIT;
        self.monitor.stop();
        while !self.unfinished.is_idle() && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(1));
        }
        if !self.unfinished.is_idle() {
            // The communicator is not ended: that would wait for the device, too.
            return tracing::warn!("the GPU did not finish its work within {:.0} s", FINISH_LIMIT.as_secs_f64());
        }
        if let Err(error) = self.comm.finish(FINISH_LIMIT) {
            tracing::warn!("{}", error.message());
        }
    }
}
