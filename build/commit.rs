//! The git commit that the program is built from. `run.json` names it.

use std::env;
use std::path::Path;
use std::process::Command;

use super::SOURCES;

/// Sets `REGUN_COMMIT` for the program: the commit, with `-dirty` where sources differ from it, or `unknown` for sources
/// that git does not know (an archive). The environment variable of this name wins, for builds from an archive.
///
/// A clean build stays as it is when commits change no source.
pub fn record() {
    println!("cargo:rerun-if-env-changed=REGUN_COMMIT");
    let given = env::var("REGUN_COMMIT").ok().filter(|commit| !commit.is_empty());
    let commit = given.or_else(from_git).unwrap_or_else(|| "unknown".into());
    println!("cargo:rustc-env=REGUN_COMMIT={commit}");
}

fn from_git() -> Option<String> {
    // The sources may lie, unpacked from an archive, in a folder of another repository.
    git(&["ls-files", "--error-unmatch", "Cargo.toml"])?;
    let commit = git(&["rev-parse", "HEAD"])?;
    let status = ["status", "--porcelain", "--"].into_iter().chain(SOURCES).collect::<Vec<_>>();
    if git(&status)?.is_empty() {
        return Some(commit);
    }
    // The changes may be committed without another change of a source.
    if let Some(log) = git(&["rev-parse", "--git-path", "logs/HEAD"]).filter(|log| Path::new(log).exists()) {
        println!("cargo:rerun-if-changed={log}");
    }
    Some(format!("{commit}-dirty"))
}

/// Output of a git command; `None` if it fails or there is no git.
fn git(arguments: &[&str]) -> Option<String> {
    let mut command = Command::new("git");
    // Without locks, because another git command may be running. A hook that builds sets the variables.
    command.arg("--no-optional-locks").args(arguments);
    for variable in ["GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE"] {
        command.env_remove(variable);
    }
    let output = command.output().ok().filter(|output| output.status.success())?;
    Some(String::from_utf8(output.stdout).ok()?.trim().to_owned())
}
