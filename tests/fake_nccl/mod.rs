//! Builds the stand-in for NCCL and runs ranks that use it.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use crate::as_ranks::{finish_ranks, rank_command};

/// Compiles `fake.c` into `folder` with these compiler flags. Returns the path of the library.
pub fn build(folder: &Path, flags: &[&str]) -> PathBuf {
    let library = folder.join("libnccl.so.2");
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fake_nccl/fake.c");
    let mut compiler = Command::new("cc");
    compiler.args(["-std=gnu11", "-O1", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC"]).args(flags);
    let output = compiler.arg("-o").arg(&library).arg(source).output().expect("a C compiler named cc");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    library
}

/// Runs the test `name` on `n` ranks over the stand-in. `fault` is one of those in `fake.c`, or empty.
pub fn run_over_fake(name: &str, n: usize, folder: &Path, fault: &str) -> Output {
    let library = build(folder, &[]);
    let mut command = rank_command(name, n, folder);
    command.env("REGUN_NCCL_LIB", library).env("FAKE_NCCL_DIR", folder).env("FAKE_NCCL_FAULT", fault);
    finish_ranks(command)
}

/// For each process, its calls to the library in order.
pub fn calls(folder: &Path) -> Vec<Vec<String>> {
    let files = folder.read_dir().unwrap().map(|entry| entry.unwrap().path());
    let logs = files.filter(|path| path.file_stem().is_some_and(|stem| stem == "calls"));
    logs.map(|path| std::fs::read_to_string(path).unwrap().lines().map(String::from).collect()).collect()
}
