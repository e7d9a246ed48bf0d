//! A communicator that can be used from any thread, one call at a time.
//!
//! The communicator is a blocking one, as PyTorch's are: PyTorch took its own non-blocking ones back because of hangs
//! (2.7.1, pull request 154055). The start and the end may wait for other ranks outside of a collective, so they run on
//! a thread of their own with a limit. Collectives run under the watchdog's clock; the first one may wait for others,
//! too.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError, mpsc};
use std::thread;
use std::time::Duration;

use tch::Device;

use super::library::{NcclCollective, NcclLibrary};
use super::raw::{CudaStream, NcclComm, UniqueId};
use crate::error::{Error, ErrorKind, Result};
use crate::torch;

/// This rank's member of a communicator.
pub struct Communicator {
    library: Arc<NcclLibrary>,
    device: Device,
    /// Locked during a call. None after the end.
    comm: Mutex<Option<CommHandle>>,
}

/// The only handle on a communicator.
struct CommHandle(NcclComm);

impl CommHandle {
    /// A closure that uses the field captures the raw pointer alone, which is not `Send`; a call captures `self`.
    fn into_raw(self) -> NcclComm {
        self.0
    }
}

// SAFETY: NCCL's communicators are not bound to a thread.
unsafe impl Send for CommHandle {}

impl Communicator {
    /// Joins the communicator `id` with `device`. An error if not all ranks join within `limit`.
    pub fn start(
        library: &Arc<NcclLibrary>,
        id: UniqueId,
        (rank, ranks): (usize, usize),
        device: Device,
        limit: Duration,
    ) -> Result<Self> {
        let opened = Arc::clone(library);
        let start = move || opened.init(id, rank, ranks).map(CommHandle);
        let comm = with_timeout(limit, device, start)?.ok_or_else(|| {
            let limit = limit.as_secs_f64();
            Error::new(
                ErrorKind::Peer,
                format!("NCCL did not start within {limit:.1} s: another rank is lost or stuck, or cannot be reached"),
            )
            .hint(
                "NCCL_DEBUG=INFO shows the connections; NCCL_SOCKET_IFNAME chooses the network, \
                 launch.timeout_seconds the limit",
            )
        })?;
        Ok(Communicator { library: Arc::clone(library), device, comm: Mutex::new(Some(comm)) })
    }

    /// Enqueues a collective on `stream`. Returns before the collective is done.
    ///
    /// # Safety
    /// The requirements of [`NcclLibrary::launch`], except those on the communicator.
    pub unsafe fn launch(&self, collective: NcclCollective, stream: CudaStream) -> Result<()> {
        let comm = self.lock();
        let Some(CommHandle(comm)) = &*comm else { return Err(ended()) };
        // SAFETY: live, and this thread holds the lock; the caller vouches for the rest.
        unsafe { self.library.launch(collective, *comm, stream) }
    }

    /// An error if a collective failed since the last call. Does nothing while another thread is in a call, which
    /// returns the error itself.
    pub fn check(&self) -> Result<()> {
        let comm = match self.comm.try_lock() {
            Ok(comm) => comm,
            Err(TryLockError::Poisoned(comm)) => comm.into_inner(),
            Err(TryLockError::WouldBlock) => return Ok(()),
        };
        let Some(CommHandle(comm)) = &*comm else { return Ok(()) };
        // SAFETY: live, and this thread holds the lock.
        unsafe { self.library.check_async_error(*comm) }
    }

    /// Ends the communicator after all launched collectives. All ranks call it. An error if that takes more than
    /// `limit`.
    pub fn finish(&self, limit: Duration) -> Result<()> {
        let comm = self.lock().take().ok_or_else(ended)?;
        let library = Arc::clone(&self.library);
        let finish = move || {
            let comm = comm.into_raw();
            // SAFETY: live, and this thread has the only handle.
            unsafe { library.finalize(comm).and_then(|()| library.destroy(comm)) }
        };
        with_timeout(limit, self.device, finish)?.ok_or_else(|| {
            Error::new(ErrorKind::Peer, format!("NCCL's end took longer than {:.1} s", limit.as_secs_f64()))
        })
    }

    fn lock(&self) -> MutexGuard<'_, Option<CommHandle>> {
        self.comm.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn ended() -> Error {
    Error::new(ErrorKind::Bug, "NCCL's communicator has ended")
}

/// Runs `work` on a thread of its own with `device` as the current one, and returns its result. Returns None if it
/// takes longer than `limit`; the thread then goes on.
fn with_timeout<T: Send + 'static>(
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
        .map_err(|error| Error::new(ErrorKind::Other, format!("cannot start a thread for NCCL: {error}")))?;
    result.recv_timeout(limit).ok().transpose()
}
