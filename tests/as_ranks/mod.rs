//! Tests on several ranks. A test starts its own test program again under mpirun. Each of these processes runs the test
//! of the given name as one rank. That test has `#[ignore]`, so it does not count where it is not one of several ranks.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use crate::mpirun::{finish, mpirun, said};

/// Environment variable of the ranks: the folder for their files. The ordinary test run does not have it.
const CHILD: &str = "REGUN_TEST_RANK_FOLDER";

/// The folder for results of this rank.
pub fn rank_folder() -> PathBuf {
    std::env::var_os(CHILD).expect("this test is one rank of another test, which starts it").into()
}

/// Runs the test `name` of this program as `n` ranks.
pub fn run_as_ranks(name: &str, n: usize, folder: &Path) -> Output {
    finish_ranks(rank_command(name, n, folder))
}

/// Runs a [`rank_command`] to its end. Fails if the program has no such test: it would end with success.
pub fn finish_ranks(command: Command) -> Output {
    let output = finish(command);
    assert!(!said(&output).contains("running 0 tests"), "no test of this name\n{}", said(&output));
    output
}

/// The command that runs the test `name` of this program as `n` ranks, not yet started.
pub fn rank_command(name: &str, n: usize, folder: &Path) -> Command {
    let program = std::env::current_exe().unwrap();
    let mut command = mpirun(n);
    command.arg(program).args(["--exact", name, "--ignored", "--nocapture", "--test-threads", "1"]).env(CHILD, folder);
    command
}
