//! A baseline in a child process: a Python program with the protocol at the head of `benches/baseline.py`.

use std::error::Error;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use crate::report::median;

/// The program with the steps of networks.
pub const SCRIPT: &str = "benches/baseline.py";

/// Timeout of one line of output, of the line `ready` too: `torch.compile` takes a minute or two.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(240);
/// Timeout of the end of the process, once its input is closed.
const EXIT_TIMEOUT: Duration = Duration::from_secs(10);

/// A running, warmed-up baseline. Dropping this closes its input, which ends the process.
#[derive(Debug)]
pub struct BaselineProcess {
    mode: String,
    child: Child,
    /// `None` only while dropping.
    input: Option<ChildStdin>,
    lines: Receiver<std::io::Result<String>>,
}

impl BaselineProcess {
    /// Starts the program and waits until it is ready.
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
        // A thread reads the output, so that waiting for a line can have a timeout. It ends with the output.
        let (sender, lines) = channel();
        thread::spawn(move || output.lines().try_for_each(|line| sender.send(line)));
        let process = BaselineProcess { mode: mode.to_owned(), child, input, lines };
        let line = process.line()?;
        let facts =
            line.strip_prefix("ready ").ok_or_else(|| format!("baseline {mode}: wanted `ready`, got `{line}`"))?;
        eprintln!("baseline {mode}: {facts}");
        Ok(process)
    }

    /// Runs one round. Returns its seconds.
    pub fn seconds(&mut self) -> Result<f64, Box<dyn Error>> {
        let written = self.input.as_mut().ok_or("the child process has no stdin")?.write_all(b"go\n");
        written.map_err(|e| format!("baseline {} takes no input: {e}", self.mode))?;
        let line = self.line()?;
        line.parse().map_err(|_| format!("baseline {}: wanted seconds, got `{line}`", self.mode).into())
    }

    fn line(&self) -> Result<String, Box<dyn Error>> {
        match self.lines.recv_timeout(ANSWER_TIMEOUT) {
            Ok(line) => Ok(line?.trim().to_owned()),
            Err(RecvTimeoutError::Timeout) => {
                Err(format!("baseline {}: no answer in {} s", self.mode, ANSWER_TIMEOUT.as_secs()).into())
            }
            Err(RecvTimeoutError::Disconnected) => {
                Err(format!("baseline {} ended early; its message is above", self.mode).into())
            }
        }
    }
}

impl Drop for BaselineProcess {
    fn drop(&mut self) {
        self.input = None;
        let start = Instant::now();
        while start.elapsed() < EXIT_TIMEOUT {
            match self.child.try_wait() {
                Ok(None) => thread::sleep(Duration::from_millis(20)),
                _ => return,
            }
        }
        // Errors are ignored: the child then ends with this process.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Baselines that take turns, with the seconds of their rounds. A baseline that cannot start, ends early or hangs is
/// reported on stderr and left out; the others go on.
#[derive(Debug)]
pub struct BaselineProcesses(Vec<(Option<BaselineProcess>, Vec<f64>)>);

impl BaselineProcesses {
    /// Starts the baselines one after the other, because libraries time their algorithms during the start.
    pub fn start(python: &Path, script: &str, modes: &[&str], arguments: &[String]) -> Self {
        let start = |mode: &&str| (present(mode, BaselineProcess::start(python, script, mode, arguments)), Vec::new());
        BaselineProcesses(modes.iter().map(start).collect())
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Runs a round of the baseline with this index. If it fails, its earlier rounds are dropped too.
    pub fn run_round(&mut self, index: usize) {
        let (process, seconds) = &mut self.0[index];
        let Some(running) = process else { return };
        let mode = running.mode.clone();
        match present(&mode, running.seconds()) {
            Some(took) => seconds.push(took),
            None => (*process, *seconds) = (None, Vec::new()),
        }
    }

    /// Median seconds of each baseline. NaN if it was left out.
    pub fn medians(self) -> Vec<f64> {
        self.0.into_iter().map(|(_, seconds)| median(seconds)).collect()
    }
}

/// The value of `result`. An error is reported on stderr.
fn present<T>(mode: &str, result: Result<T, Box<dyn Error>>) -> Option<T> {
    result.inspect_err(|error| eprintln!("left out: PyTorch {mode}: {error}")).ok()
}
