//! Tests on several ranks. A test starts its own test program again under mpirun. Each of these processes runs the test
//! of the given name as one rank.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use crate::mpirun::{finish, mpirun};

/// Environment variable of the ranks: the folder for their files. The ordinary test run does not have it.
const CHILD: &str = "REGUN_TEST_RANK_FOLDER";

/// The folder for results if this process is a rank, `None` in the ordinary test run.
pub fn rank_folder() -> Option<PathBuf> {
    std::env::var_os(CHILD).map(Into::into)
}

/// Runs the test `name` of this program as `n` ranks.
pub fn run_as_ranks(name: &str, n: usize, folder: &Path) -> Output {
    finish(rank_command(name, n, folder))
}

/// The command that runs the test `name` of this program as `n` ranks, not yet started.
pub fn rank_command(name: &str, n: usize, folder: &Path) -> Command {
    let program = std::env::current_exe().unwrap();
    let mut command = mpirun(n);
    command.arg(program).args(["--exact", name, "--nocapture", "--test-threads", "1"]).env(CHILD, folder);
    command
}
