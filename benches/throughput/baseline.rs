//! A baseline in a child process: a Python program that speaks the protocol described at the head of
//! `benches/baseline.py`.

use std::error::Error;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use crate::report::median;

/// Networks and their steps.
pub const BASELINE: &str = "benches/baseline.py";

/// For one line of an answer, that a baseline is ready included: `torch.compile` takes a minute or two.
const RETRY: Duration = Duration::from_secs(240);
/// For its end, once it has been told.
const FAREWELL: Duration = Duration::from_secs(10);

/// A running, warmed-up baseline. It ends when its input does, that is when this is dropped.
#[derive(Debug)]
pub struct Peer {
    mode: String,
    child: Child,
    /// `None` only while dropping.
    input: Option<ChildStdin>,
    lines: Receiver<std::io::Result<String>>,
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
        // A thread reads, so that an answer that never comes can be given up. It ends with the child's output.
        let (sender, lines) = channel();
        thread::spawn(move || output.lines().try_for_each(|line| sender.send(line)));
        let peer = Peer { mode: mode.to_owned(), child, input, lines };
        let line = peer.line()?;
        let facts =
            line.strip_prefix("ready ").ok_or_else(|| format!("baseline {mode}: wanted `ready`, got `{line}`"))?;
        eprintln!("baseline {mode}: {facts}");
        Ok(peer)
    }

    /// Seconds that one round took just now.
    pub fn seconds(&mut self) -> Result<f64, Box<dyn Error>> {
        let told = self.input.as_mut().ok_or("the child process has no stdin")?.write_all(b"go\n");
        told.map_err(|e| format!("baseline {} takes no input: {e}", self.mode))?;
        let line = self.line()?;
        line.parse().map_err(|_| format!("baseline {}: wanted seconds, got `{line}`", self.mode).into())
    }

    fn line(&self) -> Result<String, Box<dyn Error>> {
        match self.lines.recv_timeout(RETRY) {
            Ok(line) => Ok(line?.trim().to_owned()),
            Err(RecvTimeoutError::Timeout) => {
                Err(format!("baseline {}: no answer in {} s", self.mode, RETRY.as_secs()).into())
            }
            Err(RecvTimeoutError::Disconnected) => {
                Err(format!("baseline {} ended early; its message is above", self.mode).into())
            }
        }
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.input = None;
        let start = Instant::now();
        while start.elapsed() < FAREWELL {
            match self.child.try_wait() {
                Ok(None) => thread::sleep(Duration::from_millis(20)),
                _ => return,
            }
        }
        // Nothing to mend if these fail: the child then ends with this process.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Baselines that take turns. One that cannot start, ends or hangs is named on stderr and left out: the others, and
/// what they are compared with, go on.
#[derive(Debug)]
pub struct Peers(Vec<(Option<Peer>, Vec<f64>)>);

impl Peers {
    /// One after the other: libraries time their algorithms while they start.
    pub fn start(python: &Path, script: &str, modes: &[&str], arguments: &[String]) -> Self {
        let start = |mode: &&str| (present(mode, Peer::start(python, script, mode, arguments)), Vec::new());
        Peers(modes.iter().map(start).collect())
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// A round of the peer of that place. What a peer that is lost did before does not count.
    pub fn ask(&mut self, place: usize) {
        let (peer, seconds) = &mut self.0[place];
        let Some(running) = peer else { return };
        let mode = running.mode.clone();
        match present(&mode, running.seconds()) {
            Some(took) => seconds.push(took),
            None => (*peer, *seconds) = (None, Vec::new()),
        }
    }

    /// Median seconds of each, NaN where it was lost.
    pub fn medians(self) -> Vec<f64> {
        self.0.into_iter().map(|(_, seconds)| median(seconds)).collect()
    }
}

fn present<T>(mode: &str, result: Result<T, Box<dyn Error>>) -> Option<T> {
    result.inspect_err(|error| eprintln!("left out: PyTorch {mode}: {error}")).ok()
}
