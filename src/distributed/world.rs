//! All ranks of a run, seen from one of them.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use tch::{Device, Tensor};

use super::counters::{CollectiveTraffic, WorkCounters, WorkCounts};
use super::nccl::{Nccl, NcclLibrary};
use super::overlap::Overlap;
use super::solo::Solo;
use super::transport::Transport;
use super::{order, watchdog};
use crate::error::{Error, ErrorKind, Result};
use crate::torch::AllReduce;

/// Number of differences between ranks that an error lists.
const DIFFERENCES_SHOWN: usize = 8;

/// All ranks of a run, seen from this one. A handle: clones share the same ranks. Autograd graphs hold one, and use it
/// on libtorch's threads.
///
/// Methods marked as collective calls must run on every rank, in the same order. They take dense tensors of float32,
/// float64, float16, bfloat16 or int64 in host memory, or on the GPU of [`use_nccl`](Self::use_nccl).
#[derive(Clone)]
pub struct World(Arc<Ranks>);

struct Ranks {
    // --- configuration ---
    check_order: AtomicBool,

    // --- transports ---
    /// For the memory of GPUs, if the run has several ranks on GPUs. Dropped before `host`, which it uses.
    device: OnceLock<Nccl>,
    host: Arc<dyn Transport>,

    // --- state ---
    counters: WorkCounters,
    /// The calls so far of a [`capture`](World::capture); none outside of one.
    noted: Mutex<Option<Vec<String>>>,
}

/// The end of a [`World::capture`].
pub enum Capture<T> {
    /// All ranks have captured the same calls. Holds the result, and the counts of the captured work.
    Done(T, WorkCounts),
    /// A capture failed: the error of this rank, or else that of the first rank with one. No call was counted.
    Failed(Error),
}

impl std::fmt::Debug for World {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "rank {} of {}", self.rank(), self.size())
    }
}

impl World {
    // --- set-up ---

    /// The ranks of `transport`.
    pub fn new(transport: Box<dyn Transport>) -> Self {
        World(Arc::new(Ranks {
            check_order: AtomicBool::new(false),
            device: OnceLock::new(),
            host: transport.into(),
            counters: WorkCounters::default(),
            noted: Mutex::default(),
        }))
    }

    /// A world of this process alone.
    pub fn solo() -> Self {
        Self::new(Box::new(Solo))
    }

    /// From now on NCCL carries tensors on `device`. The first transport still carries host tensors and messages. Does
    /// nothing for a single rank, and nothing when called again. A collective call.
    pub fn use_nccl(&self, library: &Arc<NcclLibrary>, device: Device) -> Result<()> {
        if self.size() == 1 || self.0.device.get().is_some() {
            return Ok(());
        }
        let nccl = {
            let _waiting = watchdog::enter("the start of NCCL");
            Nccl::start(library, Arc::clone(&self.0.host), device)?
        };
        // If another thread of this rank was faster, its communicator stays.
        let _ = self.0.device.set(nccl);
        Ok(())
    }

    /// Sets the longest time that this rank waits for the others in a collective before it ends the job, and whether
    /// each collective first checks that all ranks make the same call.
    pub fn configure(&self, timeout: Duration, check_order: bool) {
        watchdog::set_limit(timeout);
        self.0.check_order.store(check_order, Ordering::Relaxed);
    }

    // --- ranks ---

    /// Name of the transport: `solo`, `mpi`, `nccl`.
    pub fn backend(&self) -> &'static str {
        self.transport().name()
    }

    /// This process among all, 0-based.
    pub fn rank(&self) -> usize {
        self.0.host.rank()
    }

    /// Number of processes.
    pub fn size(&self) -> usize {
        self.0.host.size()
    }

    /// This rank among those on its machine, 0-based.
    pub fn local_rank(&self) -> usize {
        self.0.host.local_rank()
    }

    /// Number of ranks on this machine, this one included.
    pub fn local_size(&self) -> usize {
        self.0.host.local_size()
    }

    /// Whether this is rank 0, which writes the files and prints to the terminal.
    pub fn is_root(&self) -> bool {
        self.rank() == 0
    }

    /// Whether collectives on a GPU's tensors are only enqueued, so that the host goes on at once.
    pub fn is_asynchronous(&self) -> bool {
        self.transport().is_asynchronous()
    }

    /// This rank's contiguous shard of `n` items. The sizes of the shards differ by at most one, the first ranks get
    /// the larger ones, and a shard may be empty.
    pub fn shard(&self, n: usize) -> Range<usize> {
        shard_of(n, self.rank(), self.size())
    }

    /// Whether this rank processes batch `batch` of `batches` as a whole, in an evaluation for example.
    ///
    /// Each rank owns contiguous batches, so that a gather of the results in rank order restores their order.
    pub fn owns_batch(&self, batch: usize, batches: usize) -> bool {
        self.shard(batches).contains(&batch)
    }

    // --- collectives on tensors ---

    /// Replaces `tensor` by its element-wise sum over all ranks. All ranks pass the same shape and dtype, and get the
    /// same bits. A collective call.
    pub fn all_reduce(&self, tensor: &mut Tensor) -> Result<()> {
        let (bytes, call) = describe("all-reduce", tensor)?;
        self.collective(bytes, call, |transport| transport.all_reduce(tensor))
    }

    /// Starts an [all-reduce](Self::all_reduce) of `tensor`. The values of `tensor` are undefined until
    /// [`finish_all_reduces`](Self::finish_all_reduces), and must not be written before. A collective call.
    pub fn start_all_reduce(&self, tensor: &mut Tensor) -> Result<()> {
        let (bytes, call) = describe("all-reduce", tensor)?;
        self.collective(bytes, call, |transport| transport.start_all_reduce(tensor))
    }

    /// Orders later operations after all started all-reduces. On a GPU the current stream waits for them, and the host
    /// does not. No collective call.
    pub fn finish_all_reduces(&self) -> Result<()> {
        self.transport().finish_all_reduces()
    }

    /// Replaces `tensor` of rank 0 by its element-wise sum over all ranks. The other tensors do not change.
    /// All ranks pass the same shape and dtype. A collective call.
    pub fn reduce(&self, tensor: &mut Tensor) -> Result<()> {
        let (bytes, call) = describe("reduce", tensor)?;
        self.collective(bytes, call, |transport| transport.reduce(tensor))
    }

    /// Replaces `tensor` by that of rank 0. All ranks pass the same shape and dtype. A collective call.
    pub fn broadcast(&self, tensor: &mut Tensor) -> Result<()> {
        let call = format!("broadcast of {:?}", tensor.size());
        self.collective(0, call, |transport| transport.broadcast(tensor))
    }

    /// The rows [n, ...] of all ranks, concatenated in rank order, on every rank. All ranks pass the same row shape and
    /// dtype; n may differ and may be 0. A collective call.
    pub fn all_gather_rows(&self, rows: &Tensor) -> Result<Tensor> {
        let call = format!("all-gather of rows {:?}", &rows.size()[1..]);
        self.collective(0, call, |transport| transport.all_gather_rows(rows))
    }

    /// Like [`all_gather_rows`](Self::all_gather_rows), but only rank 0 gets the result, maybe in host memory. The
    /// other ranks get `None`. A collective call.
    pub fn gather_rows(&self, rows: &Tensor) -> Result<Option<Tensor>> {
        let call = format!("gather of rows {:?}", &rows.size()[1..]);
        self.collective(0, call, |transport| transport.gather_rows(rows))
    }

    // --- collectives on other values ---

    /// The strings of all ranks, in rank order, on every rank. A collective call.
    pub fn all_gather(&self, text: &str) -> Result<Vec<String>> {
        let all = self.collective(0, "all-gather of texts".into(), |t| t.all_gather_bytes(text.as_bytes()))?;
        Ok(all.iter().map(|bytes| String::from_utf8_lossy(bytes).into_owned()).collect())
    }

    /// The string of rank 0, on every rank. A collective call.
    pub fn broadcast_str(&self, text: &str) -> Result<String> {
        let mine = if self.is_root() { text } else { "" };
        Ok(self.all_gather(mine)?.swap_remove(0))
    }

    /// The answer of rank 0, on every rank. A collective call.
    pub fn broadcast_bool(&self, answer: bool) -> Result<bool> {
        let mut flag = Tensor::from_slice(&[i64::from(answer)]);
        self.broadcast(&mut flag)?;
        Ok(flag.f_int64_value(&[0])? != 0)
    }

    /// Whether the answer of any rank is yes. A collective call.
    pub fn any(&self, answer: bool) -> Result<bool> {
        let mut count = Tensor::from_slice(&[i64::from(answer)]);
        self.all_reduce(&mut count)?;
        Ok(count.f_int64_value(&[0])? != 0)
    }

    /// Returns when every rank has called it. A collective call.
    pub fn barrier(&self) -> Result<()> {
        self.collective(0, "barrier".into(), |transport| transport.barrier())
    }

    /// Runs `job` on rank 0, and afterwards on all other ranks. Rank 0 downloads, decodes or repairs files, and the
    /// others find them ready. A collective call.
    ///
    /// `job` may take any time on any rank. Meanwhile the ranks exchange signs of life, so that a watchdog ends the job
    /// only if a rank is gone. Therefore `job` runs on a thread of its own, and makes no collective calls.
    pub fn root_first<T: Send>(&self, job: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        if self.size() == 1 {
            return job();
        }
        if self.is_root() {
            let done = self.run_with_signs_of_life(job, || self.broadcast_bool(false).map(drop))?;
            self.broadcast_bool(true)?;
            while self.any(false)? {}
            return Ok(done);
        }
        while !self.broadcast_bool(true)? {}
        let done = self.run_with_signs_of_life(job, || self.any(true).map(drop))?;
        while self.any(false)? {}
        Ok(done)
    }

    /// Runs `job` on a thread of its own, and `sign_of_life` on this one, four times in the limit of the watchdogs.
    fn run_with_signs_of_life<T: Send>(
        &self,
        job: impl FnOnce() -> Result<T> + Send,
        sign_of_life: impl Fn() -> Result<()>,
    ) -> Result<T> {
        let interval = watchdog::limit() / 4;
        std::thread::scope(|scope| {
            let (running, ended) = mpsc::channel::<()>();
            let worker = scope.spawn(move || {
                let _running = running; // dropped at the end of the job, also after a panic
                job()
            });
            while ended.recv_timeout(interval) == Err(RecvTimeoutError::Timeout) {
                sign_of_life()?;
            }
            worker.join().map_err(|_| Error::new(ErrorKind::Bug, "a rank panicked while the others waited"))?
        })
    }

    /// Checks that the named values of `facts` are the same on all ranks. A collective call. With a single rank `facts`
    /// is not called.
    ///
    /// # Errors
    /// A usage error on all ranks: it lists the first differences, with the ranks that have them.
    pub fn agree(&self, facts: impl FnOnce() -> Vec<(String, String)>) -> Result<()> {
        if self.size() == 1 {
            return Ok(());
        }
        let mine = serde_json::to_string(&facts())
            .map_err(|error| Error::new(ErrorKind::Bug, format!("facts to compare: {error}")))?;
        let all = self.all_gather(&mine)?;
        let all: Vec<Vec<(String, String)>> =
            all.iter().map(|text| serde_json::from_str(text).unwrap_or_default()).collect();
        let mut differences = Vec::new();
        for (rank, theirs) in all.iter().enumerate().skip(1) {
            for (name, wanted) in &all[0] {
                let got = theirs.iter().find(|(other, _)| other == name).map_or("nothing", |(_, value)| value);
                if got != wanted {
                    differences.push(format!("{name}: rank 0 has {wanted}, rank {rank} has {got}"));
                }
            }
            for (name, value) in theirs.iter().filter(|(name, _)| all[0].iter().all(|(known, _)| known != name)) {
                differences.push(format!("{name}: rank 0 has nothing, rank {rank} has {value}"));
            }
        }
        if differences.is_empty() {
            return Ok(());
        }
        let more = differences.len().saturating_sub(DIFFERENCES_SHOWN);
        differences.truncate(DIFFERENCES_SHOWN);
        if more > 0 {
            differences.push(format!("and {more} more"));
        }
        Err(Error::usage(format!("the ranks were started differently:\n  {}", differences.join("\n  ")))
            .hint("start all ranks with the same program, arguments, environment and files"))
    }

    // --- captures ---

    /// Runs `capture`, which notes work in a CUDA graph instead of doing it. Its collective calls exchange nothing
    /// between the ranks, so their order is not checked while they are noted. They are not counted either: each replay
    /// adds the counts. After a failure on some rank the counters of all ranks are as before. A collective call.
    ///
    /// # Errors
    /// `Peer` if the ranks have captured different calls; `launch.check_collectives` looks for that.
    pub fn capture<T>(&self, capture: impl FnOnce() -> Result<T>) -> Result<Capture<T>> {
        *self.noted() = Some(Vec::new());
        let (result, counts) = self.0.counters.count_apart(capture);
        let calls = self.noted().take().unwrap_or_default();
        let failure = result.as_ref().err().map(|error| error.message().to_owned()).unwrap_or_default();
        let failures = self.all_gather(&failure)?;
        let failed = failures.iter().position(|failure| !failure.is_empty());
        match (result, failed) {
            (Err(error), _) => Ok(Capture::Failed(error)),
            (Ok(_), Some(rank)) => {
                Ok(Capture::Failed(Error::new(ErrorKind::Other, format!("rank {rank}: {}", failures[rank]))))
            }
            (Ok(result), None) => {
                if self.size() > 1 && self.0.check_order.load(Ordering::Relaxed) {
                    order::check(&*self.0.host, &format!("in a CUDA graph: {}", calls.join("; ")))?;
                }
                Ok(Capture::Done(result, counts))
            }
        }
    }

    fn noted(&self) -> MutexGuard<'_, Option<Vec<String>>> {
        self.0.noted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes a call if there is a capture. True if so.
    fn note(&self, call: &str) -> bool {
        match &mut *self.noted() {
            Some(calls) => {
                calls.push(call.to_owned());
                true
            }
            None => false,
        }
    }

    // --- watching ---

    /// Sets the current training step for the message of a rank that waits too long: "base, epoch 3, step 12".
    pub fn set_current_step(&self, step: String) {
        watchdog::set_step(step);
    }

    /// Watches a step of which all work is enqueued on the device: a CUDA graph contains collectives without a call. If
    /// the device does not finish the step within the limit, the job ends as after any other collective.
    pub fn watch_queued_step(&self) -> Result<()> {
        if self.size() == 1 {
            return Ok(());
        }
        self.transport().watch_queued_work(&watchdog::with_step("a step"))
    }

    /// Starts to measure the [`overlap`](Self::overlap) of started all-reduces, from zero. False if there is nothing to
    /// measure, because the transport has no asynchronous all-reduces.
    pub fn trace_all_reduces(&self) -> bool {
        self.transport().trace_all_reduces()
    }

    /// The hidden part of the time of the traced all-reduces that are done; none if they are not traced.
    pub fn overlap(&self) -> Result<Option<Overlap>> {
        self.transport().overlap()
    }

    // --- counters ---

    /// The collective calls of this rank since the last [`reset_counts`](Self::reset_counts).
    pub fn traffic(&self) -> CollectiveTraffic {
        self.0.counters.traffic()
    }

    /// Number of images in forward passes of this rank since the last [`reset_counts`](Self::reset_counts), by use.
    pub fn image_counts(&self) -> BTreeMap<String, u64> {
        self.0.counters.images()
    }

    /// Adds `images` to the forward passes of this rank for `use_name`, such as "base/train".
    pub fn count_images(&self, use_name: &str, images: usize) {
        self.0.counters.count_images(use_name, images as u64);
    }

    /// Sets all counters to zero. The steps of a pipeline report their counts one by one.
    pub fn reset_counts(&self) {
        self.0.counters.reset();
    }

    /// Adds `counts` to the counters: the replay of a CUDA graph repeats captured work without calls.
    pub fn add_counts(&self, counts: &WorkCounts) {
        self.0.counters.add(counts);
    }

    /// The transport of the run's device.
    fn transport(&self) -> &dyn Transport {
        match self.0.device.get() {
            Some(nccl) => nccl,
            None => &*self.0.host,
        }
    }

    /// Counts a collective call, checks its order if asked to, and makes it under the watchdog's clock. During a
    /// [`capture`](Self::capture) it is noted instead of checked. `call` describes it in messages.
    fn collective<T>(&self, bytes: usize, call: String, run: impl FnOnce(&dyn Transport) -> Result<T>) -> Result<T> {
        let number = self.0.counters.count_collective(bytes);
        let is_noted = self.note(&call);
        let clock = Instant::now();
        let result = if self.size() == 1 {
            run(self.transport())
        } else {
            let call = format!("collective {number}, {call}");
            let _waiting = watchdog::enter(&call);
            if !is_noted && self.0.check_order.load(Ordering::Relaxed) {
                order::check(self.transport(), &call)?;
            }
            run(self.transport())
        };
        self.0.counters.add_seconds(clock.elapsed().as_secs_f64());
        result
    }
}

impl AllReduce for World {
    fn rank(&self) -> usize {
        World::rank(self)
    }

    fn size(&self) -> usize {
        World::size(self)
    }

    fn all_reduce(&self, tensor: &mut Tensor) -> Result<()> {
        World::all_reduce(self, tensor)
    }

    fn handle(&self) -> Arc<dyn AllReduce> {
        Arc::new(self.clone())
    }
}

/// Bytes of `tensor`, and the description of a collective call with it.
fn describe(collective: &str, tensor: &Tensor) -> Result<(usize, String)> {
    let kind = tensor.f_kind()?;
    Ok((tensor.numel() * kind.elt_size_in_bytes(), format!("{collective} of {:?} {kind:?}", tensor.size())))
}

/// The shard of `rank` among `size` ranks, see [`World::shard`].
fn shard_of(n: usize, rank: usize, size: usize) -> Range<usize> {
    let (small, larger) = (n / size, n % size);
    let start = rank * small + rank.min(larger);
    start..start + small + usize::from(rank < larger)
}

#[cfg(test)]
mod tests {
    use super::shard_of;

    #[test]
    fn shards_are_contiguous_cover_everything_once_and_differ_by_one() {
        for n in [0, 1, 2, 3, 97, 128] {
            for size in 1..=5 {
                let shards: Vec<_> = (0..size).map(|rank| shard_of(n, rank, size)).collect();
                let joined: Vec<usize> = shards.iter().cloned().flatten().collect();
                assert_eq!(joined, (0..n).collect::<Vec<_>>(), "n {n}, {size} ranks");
                let (shortest, longest) = (shards.iter().map(|s| s.len()).min(), shards.iter().map(|s| s.len()).max());
                assert!(longest.unwrap() - shortest.unwrap() <= 1);
            }
        }
    }
}
