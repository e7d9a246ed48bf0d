//! The git commit that the program is built from. `run.json` names it.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Sets `REGUN_COMMIT` for the program: the commit of `sources`, with `-dirty` where they differ from it, or `unknown`
/// where git does not know them (an archive). The environment variable of this name wins, for builds from an archive.
///
/// A clean build stays as it is when commits change no source.
pub fn record(sources: &[&str]) {
    println!("cargo:rerun-if-env-changed=REGUN_COMMIT");
    let given = env::var("REGUN_COMMIT").ok().filter(|commit| !commit.is_empty());
    let commit = given.or_else(|| {
        let (commit, log) = of(Path::new("."), sources)?;
        if let Some(log) = log {
            println!("cargo:rerun-if-changed={}", log.display());
        }
        Some(commit)
    });
    println!("cargo:rustc-env=REGUN_COMMIT={}", commit.as_deref().unwrap_or("unknown"));
}

/// The commit of the `sources` in a folder. If they differ from it, also the file that git changes when they are
/// committed. `None` without git, or where it does not know the folder's `Cargo.toml`.
pub fn of(folder: &Path, sources: &[&str]) -> Option<(String, Option<PathBuf>)> {
    // The sources may lie, unpacked from an archive, in a folder of another repository.
    git(folder, &["ls-files", "--error-unmatch", "Cargo.toml"])?;
    let commit = git(folder, &["rev-parse", "HEAD"])?;
    let status: Vec<&str> = ["status", "--porcelain", "--"].iter().chain(sources).copied().collect();
    if git(folder, &status)?.is_empty() {
        return Some((commit, None));
    }
    let log = folder.join(git(folder, &["rev-parse", "--git-path", "logs/HEAD"])?);
    Some((format!("{commit}-dirty"), log.exists().then_some(log)))
}

/// Output of a git command; `None` if it fails or there is no git.
fn git(folder: &Path, arguments: &[&str]) -> Option<String> {
    let mut command = Command::new("git");
    // Without locks, because another git command may be running. A hook that builds sets the variables.
    command.arg("--no-optional-locks").args(arguments).current_dir(folder);
    for variable in ["GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE"] {
        command.env_remove(variable);
    }
    let output = command.output().ok().filter(|output| output.status.success())?;
    Some(String::from_utf8(output.stdout).ok()?.trim().to_owned())
}
