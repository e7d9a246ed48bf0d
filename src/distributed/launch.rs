//! Joins the ranks that a launcher started.
//!
//! Rank and size come from MPI alone. The environment variables of a launcher only show that there is one, and how many
//! processes it started. This finds a launch that does not fit MPI, in which each of N processes is rank 0 of 1.

use std::env;

use super::mpi::{self, Mpi};
use super::process;
use super::solo::Solo;
use super::world::World;
use crate::error::{Error, Result};

/// Joins the other ranks, if a launcher started any. Does not start MPI without a launcher, or under one that started a
/// single process.
///
/// # Errors
/// MPI sees another number of processes than the launcher, or lacks `MPI_THREAD_MULTIPLE`.
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
    process::set_identity(world.rank(), world.size());
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

/// Name and version of the MPI library.
pub fn mpi_version() -> String {
    mpi::version()
}
