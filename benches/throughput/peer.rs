//! A baseline in a child process: a Python program that speaks the protocol described at the head of `benches/baseline.py`.

use std::error::Error;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

/// Networks and their steps.
pub const BASELINE: &str = "benches/baseline.py";

/// A running, warmed-up baseline. It ends when its input does, that is when this is dropped.
#[derive(Debug)]
pub struct Peer {
    mode: String,
    child: Child,
    /// `None` only while dropping.
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
}

impl Peer {
    /// Starts the baseline and waits until it is ready.
    pub fn start(python: &Path, script: &str, mode: &str, arguments: &[String]) -> Result<Self, Box<dyn Error>> {
        let mut child = Command::new(python)
            .arg(script)
            .arg(mode)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|e| {
                format!("cannot start {}: {e}\nhint: name a Python with PyTorch: --python", python.display())
            })?;
        let input = child.stdin.take();
        let output = BufReader::new(child.stdout.take().ok_or("the child process has no stdout")?);
        let mut peer = Peer { mode: mode.to_owned(), child, input, output };
        let line = peer.line()?;
        let facts =
            line.strip_prefix("ready ").ok_or_else(|| format!("baseline {mode}: wanted `ready`, got `{line}`"))?;
        eprintln!("baseline {mode}: {facts}");
        Ok(peer)
    }

    /// Seconds that one round took just now.
    pub fn seconds(&mut self) -> Result<f64, Box<dyn Error>> {
        self.input.as_mut().ok_or("the child process has no stdin")?.write_all(b"go\n")?;
        let line = self.line()?;
        line.parse().map_err(|_| format!("baseline {}: wanted seconds, got `{line}`", self.mode).into())
    }

    fn line(&mut self) -> Result<String, Box<dyn Error>> {
        let mut line = String::new();
        match self.output.read_line(&mut line)? {
            0 => Err(format!("baseline {} ended early; its message is above", self.mode).into()),
            _ => Ok(line.trim().to_owned()),
        }
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.input = None;
        // Nothing to mend if it fails: the child then ends with this process.
        let _ = self.child.wait();
    }
}
