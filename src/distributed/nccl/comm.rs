//! A communicator that can be used from any thread, one call at a time.
//!
//! It is a blocking one, as PyTorch's are: that took its own non-blocking ones back because of hangs (2.7.1, pull
//! request 154055). What may wait for other ranks outside of a collective, the start and the end, runs on a thread of
//! its own with a limit instead; the watchdog's clock runs for collectives, the first of which may wait for others,
//! too.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError, mpsc};
use std::thread;
use std::time::Duration;

use tch::Device;

use super::library::{Collective, Library};
use super::raw::{Comm, Stream, UniqueId};
use crate::error::{Error, ErrorKind, Result};
use crate::torch;

pub struct Communicator {
    library: Arc<Library>,
    device: Device,
    /// Locked during a call. None once it has ended.
    comm: Mutex<Option<Owned>>,
}

/// The only handle on a communicator.
struct Owned(Comm);

impl Owned {
    /// A closure that named the field would capture that alone, which is not `Send`.
    fn into_raw(self) -> Comm {
        self.0
    }
}

// SAFETY: NCCL's communicators are not bound to a thread.
unsafe impl Send for Owned {}

impl Communicator {
    /// Joins `id` with `device`. An error when the others do not come within `limit`.
    pub fn start(
        library: &Arc<Library>,
        id: UniqueId,
        (rank, ranks): (usize, usize),
        device: Device,
        limit: Duration,
    ) -> Result<Self> {
        let opened = Arc::clone(library);
        let start = move || opened.init(id, rank, ranks).map(Owned);
        let comm = within(limit, device, start)?.ok_or_else(|| {
            let limit = limit.as_secs_f64();
            Error::new(
                ErrorKind::Peer,
                format!(
                    "NCCL's start did not come to its end within {limit:.1} s: another rank is lost or stuck, or cannot \
                     be reached"
                ),
            )
            .hint(
                "see what it waits for with NCCL_DEBUG=INFO; NCCL_SOCKET_IFNAME chooses the network, \
                 launch.timeout_seconds the limit",
            )
        })?;
        Ok(Communicator { library: Arc::clone(library), device, comm: Mutex::new(Some(comm)) })
    }

    /// Gives a collective to `stream`; when this returns it is there, but need not be done.
    ///
    /// # Safety
    /// As [`Library::launch`], but for the communicator.
    pub unsafe fn launch(&self, collective: Collective, stream: Stream) -> Result<()> {
        let comm = self.turn();
        let Some(Owned(comm)) = &*comm else { return Err(ended()) };
        // SAFETY: live, and this thread has the turn; the rest says the caller.
        unsafe { self.library.launch(collective, *comm, stream) }
    }

    /// An error if something failed since the last call. Says nothing while another thread is in a call, which fails
    /// itself.
    pub fn check(&self) -> Result<()> {
        let comm = match self.comm.try_lock() {
            Ok(comm) => comm,
            Err(TryLockError::Poisoned(comm)) => comm.into_inner(),
            Err(TryLockError::WouldBlock) => return Ok(()),
        };
        let Some(Owned(comm)) = &*comm else { return Ok(()) };
        // SAFETY: live, and this thread has the turn.
        unsafe { self.library.check_async_error(*comm) }
    }

    /// The orderly end, on all ranks together: what was launched is done. An error when it takes longer than `limit`.
    pub fn finish(&self, limit: Duration) -> Result<()> {
        let comm = self.turn().take().ok_or_else(ended)?;
        let library = Arc::clone(&self.library);
        let finish = move || {
            let comm = comm.into_raw();
            // SAFETY: live, and nobody else finds it any more.
            unsafe { library.finalize(comm).and_then(|()| library.destroy(comm)) }
        };
        within(limit, self.device, finish)?.ok_or_else(|| {
            Error::new(ErrorKind::Peer, format!("NCCL's end took longer than {:.1} s", limit.as_secs_f64()))
        })
    }

    fn turn(&self) -> MutexGuard<'_, Option<Owned>> {
        self.comm.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn ended() -> Error {
    Error::new(ErrorKind::Bug, "NCCL's communicator has ended")
}

/// What `work` comes to on a thread of its own, whose device is `device`; none where that takes longer than `limit`,
/// and goes on.
fn within<T: Send + 'static>(
    limit: Duration,
    device: Device,
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<Option<T>> {
    let (done, result) = mpsc::channel();
    let send = move || {
        let _ = done.send(torch::set_device(device).and_then(|()| work()));
    };
    thread::Builder::new()
        .name("nccl".into())
        .spawn(send)
        .map_err(|error| Error::new(ErrorKind::Other, format!("a thread cannot be started: {error}")))?;
    result.recv_timeout(limit).ok().transpose()
}
