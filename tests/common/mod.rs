//! Runs the program in a temporary folder. A failed assertion on a run prints its command, folder, files, standard
//! output and standard error.

use std::fmt;
use std::fs::{self, File};
use std::io::{Read, Seek};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// Time limit of a run; a longer run hangs. The longest one (ResNet-18 on CIFAR-10) takes a minute on two idle cores.
const LIMIT: Duration = Duration::from_secs(300);

/// A temporary folder to run the program in, deleted when dropped.
pub struct Workspace(TempDir);

impl Workspace {
    pub fn new() -> Self {
        Workspace(tempfile::tempdir().expect("a temporary folder"))
    }

    /// The path of `below` in the folder; the folder itself for an empty text.
    pub fn path(&self, below: &str) -> PathBuf {
        self.0.path().join(below)
    }

    /// Runs `regun` with `arguments`, which blanks separate.
    pub fn regun(&self, arguments: &str) -> Finished {
        self.prepare(arguments).run()
    }

    /// Prepares a run of `regun` with `arguments`, which blanks separate, without starting it.
    pub fn prepare(&self, arguments: &str) -> Job {
        let mut command = Command::new(env!("CARGO_BIN_EXE_regun"));
        command.args(arguments.split_whitespace()).current_dir(self.0.path());
        // The user's own folders must not reach the run.
        for variable in ["CACHE_DIR", "DATA_DIR", "OUTPUTS_DIR"] {
            command.env_remove(variable);
        }
        // This proxy does not exist, so a test with missing data downloads nothing.
        command.env("HTTPS_PROXY", "http://127.0.0.1:1");
        // Tests run side by side, so waiting threads must not spin.
        command.env("OMP_WAIT_POLICY", "passive");
        // A full pipe would block the program. Files need no reader while it runs.
        let [out, err] = [(); 2].map(|()| tempfile::tempfile().expect("a temporary file"));
        command.stdin(Stdio::null());
        command.stdout(out.try_clone().expect("a second handle"));
        command.stderr(err.try_clone().expect("a second handle"));
        Job { command, out, err, arguments: arguments.to_owned() }
    }
}

/// A run of `regun` that has not started.
pub struct Job {
    pub command: Command,
    out: File,
    err: File,
    arguments: String,
}

impl Job {
    /// Runs the program to its end. Kills it after [`LIMIT`] and fails the test.
    pub fn run(mut self) -> Finished {
        let started = Instant::now();
        let mut child = self.command.spawn().expect("the program starts");
        // If a test has set a pipe as standard output, this closes its reading end.
        drop(child.stdout.take());
        let status = loop {
            match child.try_wait().expect("the state of a child") {
                Some(status) => break Some(status),
                None if started.elapsed() > LIMIT => break None,
                None => std::thread::sleep(Duration::from_millis(5)),
            }
        };
        if status.is_none() {
            let _ = child.kill();
            let _ = child.wait();
        }
        let finished = Finished {
            arguments: self.arguments,
            folder: self.command.get_current_dir().map(Path::to_owned).unwrap_or_default(),
            status,
            stdout: contents(self.out),
            stderr: contents(self.err),
        };
        assert!(finished.status.is_some(), "still running after {LIMIT:?}, killed\n{finished}");
        finished
    }
}

fn contents(mut file: File) -> String {
    let mut bytes = Vec::new();
    file.rewind().and_then(|()| file.read_to_end(&mut bytes)).expect("the output of the program");
    String::from_utf8_lossy(&bytes).into_owned()
}

/// The output of a finished run.
pub struct Finished {
    arguments: String,
    folder: PathBuf,
    status: Option<ExitStatus>,
    pub stdout: String,
    pub stderr: String,
}

impl Finished {
    /// Asserts exit code 0.
    #[track_caller]
    pub fn succeeds(self) -> Self {
        self.ends_with(0)
    }

    /// Asserts the exit code, an error message, and all of `parts` in standard error.
    #[track_caller]
    pub fn fails(self, code: i32, parts: &[&str]) -> Self {
        let finished = self.ends_with(code);
        assert!(finished.stderr.lines().any(|line| line.starts_with("error: ")), "no error message\n{finished}");
        for part in parts {
            assert!(finished.stderr.contains(part), "standard error does not say {part:?}\n{finished}");
        }
        finished
    }

    #[track_caller]
    fn ends_with(self, code: i32) -> Self {
        for panic in ["internal error", "panicked", "RUST_BACKTRACE"] {
            assert!(!self.stderr.contains(panic), "a panic\n{self}");
        }
        assert_eq!(self.status.and_then(|status| status.code()), Some(code), "exit code\n{self}");
        self
    }
}

impl fmt::Display for Finished {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "$ cd {} && regun {}", self.folder.display(), self.arguments)?;
        writeln!(f, "---- ended with: {:?}", self.status)?;
        writeln!(f, "---- files:")?;
        list(&self.folder, f)?;
        writeln!(f, "---- standard output:\n{}", self.stdout)?;
        writeln!(f, "---- standard error:\n{}", self.stderr)
    }
}

fn list(folder: &Path, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let mut entries: Vec<_> = fs::read_dir(folder).into_iter().flatten().flatten().collect();
    entries.sort_by_key(fs::DirEntry::path);
    for entry in entries {
        match entry.metadata() {
            Ok(metadata) if metadata.is_dir() => list(&entry.path(), f)?,
            Ok(metadata) => writeln!(f, "{:>10} {}", metadata.len(), entry.path().display())?,
            Err(error) => writeln!(f, "{error} {}", entry.path().display())?,
        }
    }
    Ok(())
}
