//! Environment variables that libraries read when they start: cuBLAS, NCCL.
//!
//! A variable is set safely only while no other thread can read the environment. So this comes before anything starts
//! threads: MPI, CUDA's driver, NCCL, libtorch's thread pool.

use crate::cli::Cli;
use crate::config::{self, Request};
use crate::error::Result;
use crate::torch;

/// The variables for `trainer.deterministic=true`. Values that the user has set stay.
pub const DETERMINISTIC: [(&str, &str); 2] = [
    // cuBLAS is deterministic in a workspace of fixed size.
    ("CUBLAS_WORKSPACE_CONFIG", ":4096:8"),
    // Sums inside NVLink switches (Hopper) differ from run to run; all other algorithms of NCCL repeat theirs.
    ("NCCL_NVLS_ENABLE", "0"),
];

/// Sets the variables that the configuration of this command asks for. A configuration that is not valid sets none: the
/// command reports it.
///
/// # Errors
/// `Bug` if the process has several threads already.
pub fn prepare(cli: &Cli) -> Result<()> {
    let Some(overrides) = cli.command.overrides() else { return Ok(()) };
    let request = Request {
        config_dir: cli.config_dir.as_deref(),
        config_path: cli.config_path.as_deref(),
        config_name: &cli.config_name,
        overrides,
        ..Request::default()
    };
    if config::load(&request).is_ok_and(|loaded| loaded.config.trainer.deterministic) {
        DETERMINISTIC.iter().try_for_each(|(name, value)| torch::default_environment(name, value))?;
    }
    Ok(())
}
