//! A communicator that can be used from any thread, one call at a time.
//!
//! It is non-blocking: a call that NCCL has not finished is asked about until it is done or failed. During the start
//! there is a limit for that; later the watchdog's clock runs for the collective that waits.

use std::ptr;
use std::sync::atomic::{AtomicPtr, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use super::library::{Collective, Library, Progress};
use super::raw::{Comm, Stream, UniqueId};
use crate::error::{Error, Kind, Result};

/// How long to wait between two questions, after the first few that come at once.
const PAUSE: Duration = Duration::from_micros(50);
const IMPATIENT_QUESTIONS: usize = 1000;
/// NCCL's abort waits for the device and for other ranks; the process ends anyway.
const ABORT_LIMIT: Duration = Duration::from_secs(2);

pub struct Communicator {
    library: Arc<Library>,
    /// Held during a call and all questions about it.
    turn: Mutex<()>,
    /// Null once it is destroyed or aborted.
    comm: AtomicPtr<std::ffi::c_void>,
}

impl Communicator {
    /// Joins `id` with this thread's current device. An error when the others do not come within `limit`.
    pub fn start(library: &Arc<Library>, id: UniqueId, rank: usize, ranks: usize, limit: Duration) -> Result<Self> {
        let deadline = Instant::now() + limit;
        let (comm, progress) = library.init(id, rank, ranks)?;
        let communicator =
            Communicator { library: Arc::clone(library), turn: Mutex::new(()), comm: AtomicPtr::new(comm) };
        let turn = communicator.turn();
        let started = communicator.settle(&turn, progress, Some(deadline)).map_err(|error| match error {
            Unsettled::Failed(error) => error,
            Unsettled::Late => Error::new(
                Kind::Peer,
                format!("NCCL's start did not come to its end within {:.1} s: another rank is lost or stuck, or cannot be reached", limit.as_secs_f64()),
            )
            .hint("see what it waits for with NCCL_DEBUG=INFO; NCCL_SOCKET_IFNAME chooses the network, launch.timeout_seconds the limit"),
        });
        drop(turn);
        if started.is_err() {
            communicator.abort();
        }
        started.map(|()| communicator)
    }

    /// Gives a collective to `stream`; when this returns it is there, but need not be done.
    ///
    /// # Safety
    /// As [`Library::launch`], but for the communicator.
    pub unsafe fn launch(&self, collective: Collective, stream: Stream) -> Result<()> {
        let turn = self.turn();
        let comm = self.live()?;
        // SAFETY: live, and this thread has the turn; the rest says the caller.
        let progress = unsafe { self.library.launch(collective, comm, stream) }?;
        self.settle(&turn, progress, None).map_err(Unsettled::into_error)
    }

    /// An error if something failed since the last call. Says nothing while another thread is in a call, which asks
    /// itself.
    pub fn check(&self) -> Result<()> {
        let Ok(_turn) = self.turn.try_lock() else { return Ok(()) };
        let Ok(comm) = self.live() else { return Ok(()) };
        // SAFETY: live, and this thread has the turn.
        unsafe { self.library.progress(comm) }.map(drop)
    }

    /// The orderly end, on all ranks together: what was launched is done. An error when it takes longer than `limit`.
    pub fn finish(&self, limit: Duration) -> Result<()> {
        let turn = self.turn();
        let comm = self.live()?;
        let deadline = Instant::now() + limit;
        // SAFETY: live, and this thread has the turn.
        let progress = unsafe { self.library.finalize(comm) }?;
        self.settle(&turn, progress, Some(deadline)).map_err(Unsettled::into_error)?;
        self.comm.store(ptr::null_mut(), Ordering::Release);
        // SAFETY: finalized, and nobody finds it any more.
        unsafe { self.library.destroy(comm) }
    }

    /// Ends whatever runs, also in the middle of another thread's call: what waits for a lost rank on the device would
    /// wait for ever. The process is about to end; it does not wait long for this.
    pub fn abort(&self) {
        let comm = Owned(self.comm.swap(ptr::null_mut(), Ordering::AcqRel));
        if comm.0.is_null() {
            return;
        }
        let library = Arc::clone(&self.library);
        let (done, ended) = mpsc::channel();
        let abort = move || {
            let comm = comm;
            // SAFETY: it was live, and nobody finds it any more.
            let _ = done.send(unsafe { library.abort(comm.0) });
        };
        if thread::Builder::new().name("nccl-abort".into()).spawn(abort).is_ok() {
            let _ = ended.recv_timeout(ABORT_LIMIT);
        }
    }

    fn turn(&self) -> MutexGuard<'_, ()> {
        self.turn.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn live(&self) -> Result<Comm> {
        match self.comm.load(Ordering::Acquire) {
            comm if comm.is_null() => Err(Error::new(Kind::Peer, "NCCL's communicator has ended after a failure")),
            comm => Ok(comm),
        }
    }

    /// Asks until the last call is done.
    fn settle(&self, _: &MutexGuard<'_, ()>, first: Progress, deadline: Option<Instant>) -> Result<(), Unsettled> {
        let mut progress = first;
        let mut questions = 0;
        while progress == Progress::Pending {
            if deadline.is_some_and(|deadline| Instant::now() > deadline) {
                return Err(Unsettled::Late);
            }
            if questions < IMPATIENT_QUESTIONS {
                thread::yield_now()
            } else {
                thread::sleep(PAUSE)
            }
            questions += 1;
            let comm = self.live().map_err(Unsettled::Failed)?;
            // SAFETY: live, and this thread has the turn: it holds the guard.
            progress = unsafe { self.library.progress(comm) }.map_err(Unsettled::Failed)?;
        }
        Ok(())
    }
}

enum Unsettled {
    Late,
    Failed(Error),
}

impl Unsettled {
    fn into_error(self) -> Error {
        match self {
            Unsettled::Late => Error::new(Kind::Peer, "NCCL did not come to its end in time"),
            Unsettled::Failed(error) => error,
        }
    }
}

/// The last handle on a communicator.
struct Owned(Comm);

// SAFETY: NCCL's communicators are not bound to a thread.
unsafe impl Send for Owned {}
