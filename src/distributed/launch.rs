//! Joins the ranks that a launcher started.
//!
//! Rank and size come from MPI alone. The environment variables of a launcher only show that there is one, and how many
//! processes it started. This finds a launch that does not fit MPI, in which each of N processes is rank 0 of 1.

use std::env;

use super::launcher::{self, Launcher};
use super::mpi::{self, Mpi};
use super::process;
use super::solo::Solo;
use super::world::World;
use crate::error::{Error, Result};

/// Joins the other ranks, if a launcher started any. Does not start MPI without a launcher, or under one that started a
/// single process.
///
/// # Errors
/// `Usage` if a launcher started several processes and MPI does not connect them; MPI lacks `MPI_THREAD_MULTIPLE`.
pub fn start() -> Result<World> {
    let variables =
        env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
    let world = match launcher::find(&variables.collect()) {
        None => World::new(Box::new(Solo)),
        Some(launcher) if launcher.connects_by_mpi => {
            let world = World::new(Box::new(Mpi::start()?));
            if world.size() < launcher.processes {
                return Err(unconnected(&launcher, world.size()));
            }
            world
        }
        Some(launcher) => return Err(without_mpi(&launcher)),
    };
    process::set_identity(world.rank(), world.size());
    Ok(world)
}

/// The error of a process that MPI connects with fewer processes than its launcher started.
fn unconnected(launcher: &Launcher, size: usize) -> Error {
    let Launcher { name, evidence, processes, .. } = launcher;
    let mpi = mpi_version();
    Error::usage(format!(
        "{evidence} says that this is one of {processes} processes, but MPI sees {size}: {name} does not work together \
         with the MPI of this program ({mpi}), and all would do the same work and write the same files"
    ))
    .hint(format!(
        "start with a launcher of {mpi}: its mpirun, or srun --mpi=pmix (see srun --mpi=list); or build regun with the \
         MPI of your launcher"
    ))
}

/// The error of a process whose launcher is none of MPI's.
fn without_mpi(launcher: &Launcher) -> Error {
    let Launcher { name, evidence, processes, .. } = launcher;
    Error::usage(format!(
        "{evidence}: {name} started this process as one of {processes}, and MPI does not connect them: all would do \
         the same work and write the same files"
    ))
    .hint(format!(
        "regun runs several processes under MPI: mpirun -n {processes} regun ..., or srun --mpi=pmix -n {processes} \
         regun ...; for a single process start regun itself, without these variables"
    ))
}

/// Name and version of the MPI library.
pub fn mpi_version() -> String {
    mpi::version()
}
