//! This process among the ranks: its name in messages, and the end of all ranks after an error.

use std::process::exit;
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Duration;

use super::mpi;
use crate::error::{Error, ErrorKind};

/// Set once the ranks have joined.
static IDENTITY: OnceLock<ProcessIdentity> = OnceLock::new();

struct ProcessIdentity {
    rank: usize,
    size: usize,
    host: String,
}

/// Makes this process rank `rank` of `size`. Only the first call has an effect.
pub(super) fn set_identity(rank: usize, size: usize) {
    let _ = IDENTITY.set(ProcessIdentity { rank, size, host: host() });
}

/// Name of this machine.
pub fn host() -> String {
    hostname::get().map(|name| name.to_string_lossy().into_owned()).unwrap_or_else(|_| "?".into())
}

/// CPU cores that this process may use, at least 1.
pub fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// Whether other ranks would wait for this one.
fn has_peers() -> bool {
    IDENTITY.get().is_some_and(|identity| identity.size > 1)
}

/// This process in a message: "rank 1 of 4 on node7".
pub fn description() -> String {
    match IDENTITY.get() {
        Some(ProcessIdentity { rank, size, host }) => format!("rank {rank} of {size} on {host}"),
        None => "this process".into(),
    }
}

/// Ends all ranks at once with this exit code. Prints nothing.
pub fn abort(code: i32) -> ! {
    if has_peers() { mpi::abort(code) } else { exit(code) }
}

/// From now on a panic, which is a bug of ours, prints a message and ends all ranks at once. Unwinding would run
/// destructors that wait for ranks that wait for this one.
pub fn end_on_panic() {
    std::panic::set_hook(Box::new(|panic| {
        eprintln!("error: {}: internal error, a bug in regun: {panic}", description());
        eprintln!("hint: please report it with the command line and the run's config.yaml");
        abort(ErrorKind::Bug.exit_code());
    }));
}

/// Prints an error that ends the run, and ends all ranks with its exit code. Only the first thread that calls it
/// prints: errors of other threads meanwhile are consequences of the first.
///
/// Some errors occur on all ranks, a misspelt key for example. The other ranks give rank 0 one second to print them
/// first and end the job, so that such an error appears once.
pub fn fail(error: &Error) -> ! {
    static FIRST: Mutex<()> = Mutex::new(());
    let _first = FIRST.lock().unwrap_or_else(PoisonError::into_inner);
    if !has_peers() {
        tracing::error!("{error}");
    } else {
        if IDENTITY.get().is_some_and(|identity| identity.rank > 0) {
            std::thread::sleep(Duration::from_secs(1));
        }
        tracing::error!("{}: {error}", description());
    }
    abort(error.kind().exit_code())
}
