//! Runs the program in a folder of its own. A run that does not go as it should is told in full: command, folder,
//! files, standard output, standard error.

use std::fmt;
use std::fs::{self, File};
use std::io::{Read, Seek};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// The longest run (ResNet-18 on CIFAR-10) takes a minute on two cores, more on busy ones; one that takes this long hangs.
const LIMIT: Duration = Duration::from_secs(300);

/// A folder to run the program in, gone when dropped.
pub struct Workspace(TempDir);

impl Workspace {
    pub fn new() -> Self {
        Workspace(tempfile::tempdir().expect("a temporary folder"))
    }

    /// A path below the folder.
    pub fn path(&self, below: &str) -> PathBuf {
        self.0.path().join(below)
    }

    /// Runs `regun` with arguments separated by blanks.
    pub fn regun(&self, arguments: &str) -> Finished {
        self.prepare(arguments).run()
    }

    /// The same, not yet started.
    pub fn prepare(&self, arguments: &str) -> Job {
        let mut command = Command::new(env!("CARGO_BIN_EXE_regun"));
        command.args(arguments.split_whitespace()).current_dir(self.0.path());
        // Nothing of whoever runs the tests.
        for variable in ["CACHE_DIR", "DATA_DIR", "OUTPUTS_DIR"] {
            command.env_remove(variable);
        }
        // Nobody there: a test that forgets its data downloads none.
        command.env("HTTPS_PROXY", "http://127.0.0.1:1");
        // Tests run side by side: waiting threads must not spin.
        command.env("OMP_WAIT_POLICY", "passive");
        // Files, not pipes: nobody has to read while the program runs.
        let [out, err] = [(); 2].map(|()| tempfile::tempfile().expect("a temporary file"));
        command.stdin(Stdio::null());
        command.stdout(out.try_clone().expect("a second handle"));
        command.stderr(err.try_clone().expect("a second handle"));
        Job { command, out, err, arguments: arguments.to_owned() }
    }
}

/// A run that has not started.
pub struct Job {
    pub command: Command,
    out: File,
    err: File,
    arguments: String,
}

impl Job {
    pub fn run(mut self) -> Finished {
        let started = Instant::now();
        let mut child = self.command.spawn().expect("the program starts");
        // Where a test has asked for pipes, nobody reads them.
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
    file.rewind().and_then(|()| file.read_to_end(&mut bytes)).expect("what the program wrote");
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
    /// It came to its end.
    #[track_caller]
    pub fn succeeds(self) -> Self {
        self.ends_with(0)
    }

    /// It ended with this exit code and with an error message that has all of `parts`.
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
