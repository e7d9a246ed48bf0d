//! All ranks of a run, seen from one of them.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use tch::{Device, Tensor};

use super::nccl::{Library, Nccl};
use super::{Overlap, Solo, Transport, order, watchdog};
use crate::error::{Error, ErrorKind, Result};
use crate::torch::AllReduce;

/// Collectives so far, for `run.json`.
#[derive(Debug, Clone, Copy, Default, PartialEq, serde::Serialize)]
pub struct Traffic {
    pub collectives: u64,
    pub bytes_reduced: u64,
    /// Seconds inside collectives, waiting for other ranks included.
    pub seconds: f64,
}

/// What some work added to the counters.
#[derive(Debug, Clone, Default)]
pub struct Counts {
    traffic: Traffic,
    work: BTreeMap<String, u64>,
}

/// How many differences between ranks an error lists.
const DIFFERENCES_SHOWN: usize = 8;

/// A handle: clones are the same world. Autograd graphs hold one, and use it on libtorch's threads.
#[derive(Clone)]
pub struct World(Arc<Ranks>);

struct Ranks {
    /// For the memory of GPUs, where the run has some; goes before the other, which it works on.
    device: OnceLock<Nccl>,
    host: Arc<dyn Transport>,
    traffic: Mutex<Traffic>,
    work: Mutex<BTreeMap<String, u64>>,
    check_order: AtomicBool,
}

impl std::fmt::Debug for World {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "rank {} of {}", self.rank(), self.size())
    }
}

/// The counters behind a lock: they are right whatever happened to a thread that held it.
fn lock<T>(counters: &Mutex<T>) -> MutexGuard<'_, T> {
    counters.lock().unwrap_or_else(PoisonError::into_inner)
}

impl World {
    pub fn new(transport: Box<dyn Transport>) -> Self {
        World(Arc::new(Ranks {
            device: OnceLock::new(),
            host: transport.into(),
            traffic: Mutex::default(),
            work: Mutex::default(),
            check_order: AtomicBool::new(false),
        }))
    }

    /// A world of this process alone.
    pub fn solo() -> Self {
        Self::new(Box::new(Solo))
    }

    /// From now on tensors on `device` travel through NCCL, at the side of whatever carries the others. A collective
    /// call. Nothing to do for a single rank, and the second time.
    pub fn use_nccl(&self, library: &Arc<Library>, device: Device) -> Result<()> {
        if self.size() == 1 || self.0.device.get().is_some() {
            return Ok(());
        }
        let nccl = {
            let _waiting = watchdog::enter("the start of NCCL");
            Nccl::start(library, Arc::clone(&self.0.host), device)?
        };
        // Set before by another thread of this rank: that one stays.
        let _ = self.0.device.set(nccl);
        Ok(())
    }

    /// From now on, and from nothing, [`overlap`](Self::overlap) tells what sums that are begun take. Whether there is
    /// anything to tell.
    pub fn trace_sums(&self) -> bool {
        self.transport().trace_sums()
    }

    /// How much of the time of the traced sums was hidden, as far as they are done; none where they are not traced.
    pub fn overlap(&self) -> Result<Option<Overlap>> {
        self.transport().overlap()
    }

    fn transport(&self) -> &dyn Transport {
        match self.0.device.get() {
            Some(nccl) => nccl,
            None => &*self.0.host,
        }
    }

    /// Where the training is from now on, for the message of a rank that waits in vain.
    pub fn enter_step(&self, place: String) {
        watchdog::set_place(place);
    }

    /// The device has been given all of the step. If it does not come to its end (collectives inside a CUDA graph are
    /// no calls) the job ends as with any other collective.
    pub fn step_is_queued(&self) -> Result<()> {
        if self.size() == 1 {
            return Ok(());
        }
        self.transport().watch_queue(&watchdog::in_place("a step"))
    }

    /// How long a rank waits for the others before it ends the job, and whether the order of collectives is checked.
    pub fn configure(&self, timeout: Duration, check_order: bool) {
        watchdog::set_limit(timeout);
        self.0.check_order.store(check_order, Ordering::Relaxed);
    }

    pub fn backend(&self) -> &'static str {
        self.transport().name()
    }

    pub fn rank(&self) -> usize {
        self.0.host.rank()
    }

    pub fn size(&self) -> usize {
        self.0.host.size()
    }

    /// This rank among those on its machine.
    pub fn local_rank(&self) -> usize {
        self.0.host.local_rank()
    }

    /// Ranks on this machine, this one among them.
    pub fn local_size(&self) -> usize {
        self.0.host.local_size()
    }

    /// Whether sums of a GPU's tensors are only put into its queue, so that the host goes on at once.
    pub fn is_queued(&self) -> bool {
        self.transport().is_queued()
    }

    /// Whether this rank writes files and speaks to the user.
    pub fn is_root(&self) -> bool {
        self.rank() == 0
    }

    pub fn traffic(&self) -> Traffic {
        *lock(&self.0.traffic)
    }

    /// Work and traffic count from here on: a pipeline's steps report one by one.
    pub fn start_counting(&self) {
        *lock(&self.0.traffic) = Traffic::default();
        lock(&self.0.work).clear();
    }

    /// Runs `body`, and says what it added to the counters.
    pub fn counting<T>(&self, body: impl FnOnce() -> T) -> (T, Counts) {
        let (traffic, work) = (self.traffic(), self.work());
        let result = body();
        let (traffic_after, mut work_after) = (self.traffic(), self.work());
        for (what, images) in &mut work_after {
            *images -= work.get(what).copied().unwrap_or_default();
        }
        let traffic = Traffic {
            collectives: traffic_after.collectives - traffic.collectives,
            bytes_reduced: traffic_after.bytes_reduced - traffic.bytes_reduced,
            seconds: 0.0,
        };
        (result, Counts { traffic, work: work_after })
    }

    /// Counts once more what was done once more without a call: replays of recorded kernels.
    pub fn count_again(&self, counts: &Counts) {
        {
            let mut traffic = lock(&self.0.traffic);
            traffic.collectives += counts.traffic.collectives;
            traffic.bytes_reduced += counts.traffic.bytes_reduced;
        }
        for (what, images) in &counts.work {
            self.tally(what, *images as usize);
        }
    }

    /// Notes that this rank forwarded `images` more images for the use `what`.
    pub fn tally(&self, what: &str, images: usize) {
        *lock(&self.0.work).entry(what.to_owned()).or_default() += images as u64;
    }

    /// Images that this rank forwarded so far, by use.
    pub fn work(&self) -> BTreeMap<String, u64> {
        lock(&self.0.work).clone()
    }

    /// This rank's contiguous share of `n` items. Shares differ by at most one item; the first ranks get the larger
    /// ones; a share may be empty.
    pub fn shard(&self, n: usize) -> Range<usize> {
        shard_of(n, self.rank(), self.size())
    }

    /// Whether whole job number `job` of `jobs` (an evaluation batch, say) is this rank's.
    ///
    /// Jobs are dealt in contiguous blocks, so that gathering the results in rank order restores their order.
    pub fn owns_batch(&self, job: usize, jobs: usize) -> bool {
        self.shard(jobs).contains(&job)
    }

    /// Replaces `tensor` by its element-wise sum over all ranks.
    pub fn all_reduce(&self, tensor: &mut Tensor) -> Result<()> {
        let (bytes, what) = describe("all-reduce", tensor)?;
        self.collective(bytes, what, |transport| transport.all_reduce(tensor))
    }

    /// Begins to do so. Until [`finish_all_reduces`](Self::finish_all_reduces) the memory of `tensor` stays alive and is neither read
    /// nor written.
    pub fn start_all_reduce(&self, tensor: &mut Tensor) -> Result<()> {
        let (bytes, what) = describe("all-reduce", tensor)?;
        self.collective(bytes, what, |transport| transport.start_all_reduce(tensor))
    }

    /// Orders all that follows after the sums that were begun. No collective call.
    pub fn finish_all_reduces(&self) -> Result<()> {
        self.transport().finish_all_reduces()
    }

    /// Replaces `tensor` of rank 0 by its element-wise sum over all ranks.
    pub fn reduce(&self, tensor: &mut Tensor) -> Result<()> {
        let (bytes, what) = describe("reduce", tensor)?;
        self.collective(bytes, what, |transport| transport.reduce(tensor))
    }

    /// Replaces `tensor` by that of rank 0.
    pub fn broadcast(&self, tensor: &mut Tensor) -> Result<()> {
        let what = format!("broadcast of {:?}", tensor.size());
        self.collective(0, what, |transport| transport.broadcast(tensor))
    }

    /// Rows of all ranks in rank order on every rank; row counts may differ.
    pub fn all_gather_rows(&self, rows: &Tensor) -> Result<Tensor> {
        let what = format!("all-gather of rows {:?}", &rows.size()[1..]);
        self.collective(0, what, |transport| transport.all_gather_rows(rows))
    }

    /// Rows of all ranks in rank order at rank 0, maybe in host memory; `None` elsewhere.
    pub fn gather_rows(&self, rows: &Tensor) -> Result<Option<Tensor>> {
        let what = format!("gather of rows {:?}", &rows.size()[1..]);
        self.collective(0, what, |transport| transport.gather_rows(rows))
    }

    /// The texts of all ranks, in rank order.
    pub fn all_gather(&self, text: &str) -> Result<Vec<String>> {
        let all = self.collective(0, "all-gather of texts".into(), |t| t.all_gather_bytes(text.as_bytes()))?;
        Ok(all.iter().map(|bytes| String::from_utf8_lossy(bytes).into_owned()).collect())
    }

    /// What rank 0 says.
    pub fn broadcast_str(&self, text: &str) -> Result<String> {
        let mine = if self.is_root() { text } else { "" };
        Ok(self.all_gather(mine)?.swap_remove(0))
    }

    /// What rank 0 answers; the others' answers do not count.
    pub fn broadcast_bool(&self, answer: bool) -> Result<bool> {
        let mut flag = Tensor::from_slice(&[i64::from(answer)]);
        self.broadcast(&mut flag)?;
        Ok(flag.f_int64_value(&[0])? != 0)
    }

    pub fn barrier(&self) -> Result<()> {
        self.collective(0, "barrier".into(), |transport| transport.barrier())
    }

    /// Runs `job` on rank 0 first and on the others when it is done there: who comes first downloads, decodes or
    /// repairs, the others find it ready.
    ///
    /// However long it takes: rank 0 gives signs of life meanwhile, so that the others' watchdogs only tell of a rank 0
    /// that is gone. Its `job` therefore runs on a thread of its own, and makes no collective calls.
    pub fn root_first<T: Send>(&self, job: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        if self.size() == 1 {
            return job();
        }
        if !self.is_root() {
            while !self.broadcast_bool(true)? {}
            return job();
        }
        let sign_of_life = watchdog::limit() / 4;
        std::thread::scope(|scope| {
            let (running, ended) = mpsc::channel::<()>();
            let worker = scope.spawn(move || {
                let _running = running; // dropped however the job ends
                job()
            });
            while ended.recv_timeout(sign_of_life) == Err(RecvTimeoutError::Timeout) {
                self.broadcast_bool(false)?;
            }
            let done =
                worker.join().map_err(|_| Error::new(ErrorKind::Bug, "rank 0 panicked in what it does first"))??;
            self.broadcast_bool(true)?;
            Ok(done)
        })
    }

    /// An error (the same on all ranks) unless the ranks agree on all of these named facts: it says which differ and
    /// on which ranks.
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
                let found = theirs.iter().find(|(other, _)| other == name).map_or("nothing", |(_, value)| value);
                if found != wanted {
                    differences.push(format!("{name}: rank 0 has {wanted}, rank {rank} has {found}"));
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

    fn collective<T>(&self, bytes: usize, what: String, call: impl FnOnce(&dyn Transport) -> Result<T>) -> Result<T> {
        let number = {
            let mut traffic = lock(&self.0.traffic);
            traffic.collectives += 1;
            traffic.bytes_reduced += bytes as u64;
            traffic.collectives
        };
        let clock = std::time::Instant::now();
        let result = if self.size() == 1 {
            call(self.transport())
        } else {
            let what = format!("collective {number}, {what}");
            let _waiting = watchdog::enter(&what);
            if self.0.check_order.load(Ordering::Relaxed) {
                order::check(self.transport(), &what)?;
            }
            call(self.transport())
        };
        lock(&self.0.traffic).seconds += clock.elapsed().as_secs_f64();
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

/// Bytes of `tensor`, and what a collective with it is called.
fn describe(collective: &str, tensor: &Tensor) -> Result<(usize, String)> {
    let kind = tensor.f_kind()?;
    Ok((tensor.numel() * kind.elt_size_in_bytes(), format!("{collective} of {:?} {kind:?}", tensor.size())))
}

/// Share of `rank` among `size` ranks: see [`World::shard`].
fn shard_of(n: usize, rank: usize, size: usize) -> Range<usize> {
    let (small, larger) = (n / size, n % size);
    let start = rank * small + rank.min(larger);
    start..start + small + usize::from(rank < larger)
}

#[cfg(test)]
mod tests {
    use super::shard_of;

    #[test]
    fn shares_are_contiguous_cover_everything_once_and_differ_by_one() {
        for n in [0, 1, 2, 3, 97, 128] {
            for size in 1..=5 {
                let shares: Vec<_> = (0..size).map(|rank| shard_of(n, rank, size)).collect();
                let joined: Vec<usize> = shares.iter().cloned().flatten().collect();
                assert_eq!(joined, (0..n).collect::<Vec<_>>(), "n {n}, {size} ranks");
                let (shortest, longest) = (shares.iter().map(|s| s.len()).min(), shares.iter().map(|s| s.len()).max());
                assert!(longest.unwrap() - shortest.unwrap() <= 1);
            }
        }
    }
}
