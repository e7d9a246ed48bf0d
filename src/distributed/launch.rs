//! How this process was started, and how it ends.
//!
//! Ranks come from MPI alone; what launchers leave in the environment only tells whether there is a launcher, and how
//! many processes it meant to start. That catches N processes that each believe to be rank 0 of 1.

use std::env;
use std::sync::{Mutex, OnceLock, PoisonError};

use super::mpi::{self, Mpi};
use super::{Solo, World};
use crate::error::{Error, ErrorKind, Result};

/// This process among the ranks, once that is known.
static IDENTITY: OnceLock<Identity> = OnceLock::new();

struct Identity {
    rank: usize,
    size: usize,
    host: String,
}

/// Joins the other ranks, if a launcher started any.
///
/// Without a launcher (or with one that started a single process) MPI is left alone.
pub fn start() -> Result<World> {
    let world = match expected_ranks() {
        None => World::new(Box::new(Solo)),
        Some((variable, expected)) => {
            let world = World::new(Box::new(Mpi::start()?));
            if world.size() != expected {
                return Err(Error::usage(format!(
                    "{variable}={expected} says that this is one of {expected} processes, but MPI sees {}: they would \
                     all do the same work and write the same files",
                    world.size()
                ))
                .hint("start with an MPI launcher of the same MPI: mpirun, or srun --mpi=pmix (see srun --mpi=list)"));
            }
            world
        }
    };
    let _ = IDENTITY.set(Identity { rank: world.rank(), size: world.size(), host: host() });
    Ok(world)
}

/// The number of processes that a launcher says it started, and the variable that says so.
fn expected_ranks() -> Option<(&'static str, usize)> {
    let number = |name: &'static str| Some((name, env::var(name).ok()?.trim().parse().ok()?));
    // Under mpirun inside a Slurm job both are set, and Slurm's counts mpirun's own daemons.
    number("OMPI_COMM_WORLD_SIZE")
        .or_else(|| number("PMI_SIZE"))
        .or_else(|| env::var_os("SLURM_STEP_ID").and_then(|_| number("SLURM_STEP_NUM_TASKS")))
        .filter(|(_, ranks): &(_, usize)| *ranks > 1)
}

/// Name of this machine.
pub fn host() -> String {
    hostname::get().map(|name| name.to_string_lossy().into_owned()).unwrap_or_else(|_| "?".into())
}

/// Name and version of the MPI library.
pub fn mpi_version() -> String {
    mpi::version()
}

/// Whether there are other ranks that would wait for this one.
fn has_peers() -> bool {
    IDENTITY.get().is_some_and(|identity| identity.size > 1)
}

/// This rank in a message: "rank 1 of 4 on node7".
pub fn who() -> String {
    match IDENTITY.get() {
        Some(Identity { rank, size, host }) => format!("rank {rank} of {size} on {host}"),
        None => "this process".into(),
    }
}

/// Ends all ranks at once with this exit code; what this rank has to say was said before.
pub fn abort(code: i32) -> ! {
    if has_peers() { mpi::abort(code) } else { std::process::exit(code) }
}

/// From now on a panic, which is a bug of ours, says so and ends all ranks at once. Unwinding would run destructors
/// that wait for ranks that wait for this one.
pub fn end_on_panic() {
    std::panic::set_hook(Box::new(|panic| {
        eprintln!("error: {}: internal error, a bug in regun: {panic}", who());
        eprintln!("hint: please report it with the command line and the run's config.yaml");
        abort(ErrorKind::Bug.exit_code());
    }));
}

/// Prints an error that ends the run, and ends all ranks with its code. The first thread that comes here: what another
/// one meets meanwhile only follows from it.
///
/// An error that all ranks have (a misspelt key, say) is printed once: the others give rank 0 a moment to say it.
pub fn fail(error: &Error) -> ! {
    static FIRST: Mutex<()> = Mutex::new(());
    let _first = FIRST.lock().unwrap_or_else(PoisonError::into_inner);
    if !has_peers() {
        tracing::error!("{error}");
    } else {
        if IDENTITY.get().is_some_and(|identity| identity.rank > 0) {
            std::thread::sleep(std::time::Duration::from_secs(1));
        }
        tracing::error!("{}: {error}", who());
    }
    abort(error.kind().exit_code())
}
