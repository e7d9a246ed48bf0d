//! Tests on several ranks: a test launches its own program again under mpirun, where the test of the given name runs as
//! a rank.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use crate::mpirun::{finish, mpirun};

/// Set for the ranks, to the folder where they may leave files.
const CHILD: &str = "REGUN_TEST_RANK_FOLDER";

/// The folder for results, where this process is a rank; `None` in the ordinary test run.
pub fn rank_folder() -> Option<PathBuf> {
    std::env::var_os(CHILD).map(Into::into)
}

/// Runs the test `name` of this program as `n` ranks.
pub fn run_as_ranks(name: &str, n: usize, folder: &Path) -> Output {
    finish(rank_command(name, n, folder))
}

/// The same, not yet started.
pub fn rank_command(name: &str, n: usize, folder: &Path) -> Command {
    let program = std::env::current_exe().unwrap();
    let mut command = mpirun(n);
    command.arg(program).args(["--exact", name, "--nocapture", "--test-threads", "1"]).env(CHILD, folder);
    command
}
