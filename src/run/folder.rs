//! Run folder: `config.yaml`, `metrics.jsonl`, `run.json`, `train.log` and, last, `results.json`.
//!
//! Only rank 0 has a folder. `results.json` exists if and only if the run was completed.

use std::cell::{Cell, RefCell};
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Instant;

use serde_json::{Map, Value, json};

use crate::error::{Error, Result};
use crate::files::{create_folder, write_atomic};

/// The folder of one run, open for writing.
pub struct RunFolder {
    path: PathBuf,
    /// `metrics.jsonl`, from its first line on.
    metrics: RefCell<Option<File>>,
    /// Start of the run: the time of day, and a clock for its duration.
    started: jiff::Zoned,
    clock: Instant,
    /// Content of `run.json` besides times, state and exit code.
    facts: RefCell<Map<String, Value>>,
    /// `results.json` is written.
    finished: Cell<bool>,
}

impl RunFolder {
    /// Makes the folder (or the first free one of `-1`, `-2`, ...) and writes the facts that are known at the start.
    pub fn create(wanted: &Path, config_yaml: &str, facts: Map<String, Value>) -> Result<Self> {
        let path = create_free_folder(wanted)?;
        write_atomic(&path.join("config.yaml"), config_yaml.as_bytes())?;
        let folder = RunFolder {
            path,
            metrics: RefCell::default(),
            started: jiff::Zoned::now(),
            clock: Instant::now(),
            facts: RefCell::new(facts),
            finished: Cell::new(false),
        };
        folder.write_state("running", None)?;
        Ok(folder)
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Opens the log file of the run, for the tracing subscriber.
    pub fn open_log(&self) -> Result<File> {
        append(&self.path.join("train.log"))
    }

    /// Appends one line to `metrics.jsonl`, with the time of day and the seconds since the start of the run.
    pub fn add_metrics(&self, mut line: Map<String, Value>) -> Result<()> {
        line.insert("time".into(), time_of_day(&jiff::Zoned::now(), "%.3f").into());
        line.insert("seconds".into(), json!(self.clock.elapsed().as_secs_f64()));
        let text = format!("{}\n", Value::Object(line));
        let path = self.path.join("metrics.jsonl");
        let mut metrics = self.metrics.borrow_mut();
        let file = match &mut *metrics {
            Some(file) => file,
            none => none.insert(append(&path)?),
        };
        // One write per line, so that a killed run leaves whole lines.
        file.write_all(text.as_bytes()).map_err(|source| Error::storage("cannot write", &path, &source))
    }

    /// Adds a fact to `run.json`. It is written with the end state.
    pub fn add_fact(&self, key: &str, value: Value) {
        self.facts.borrow_mut().insert(key.to_owned(), value);
    }

    /// Writes `run.json` with the end state, then `results.json`.
    pub fn finish(&self, results: &Map<String, Value>) -> Result<()> {
        self.write_state("done", Some(0))?;
        write_json(&self.path.join("results.json"), results)?;
        self.finished.set(true);
        Ok(())
    }

    /// Writes `run.json` with the error that ended the run. Does nothing for a finished run: only printing its results
    /// has failed.
    pub fn fail(&self, error: &Error) -> Result<()> {
        if self.finished.get() {
            return Ok(());
        }
        self.add_fact("error", Value::String(error.message().to_owned()));
        self.write_state("failed", Some(error.kind().exit_code()))
    }

    fn write_state(&self, state: &str, exit_code: Option<i32>) -> Result<()> {
        let mut run = self.facts.borrow().clone();
        run.insert("started".into(), time_of_day(&self.started, "").into());
        run.insert("seconds".into(), json!(self.clock.elapsed().as_secs_f64()));
        run.insert("state".into(), state.into());
        run.insert("exit_code".into(), json!(exit_code));
        write_json(&self.path.join("run.json"), &run)
    }
}

/// A time in ISO 8601 with the offset from UTC. `fraction` is the format of the fraction of a second.
fn time_of_day(time: &jiff::Zoned, fraction: &str) -> String {
    time.strftime(&format!("%Y-%m-%dT%H:%M:%S{fraction}%:z")).to_string()
}

/// Writes an indented JSON object with a newline at its end.
pub fn write_json(path: &Path, object: &Map<String, Value>) -> Result<()> {
    write_atomic(path, format!("{:#}\n", Value::Object(object.clone())).as_bytes())
}

/// Opens a file for appending. Creates it if it does not exist.
fn append(path: &Path) -> Result<File> {
    OpenOptions::new()
        .create(true)
        .append(true)
        .open(path)
        .map_err(|source| Error::storage("cannot open", path, &source))
}

/// Makes the folder `wanted`, or the first of `wanted-1`, `wanted-2`, ... that does not exist. Two runs that start in
/// the same second get different folders.
pub fn create_free_folder(wanted: &Path) -> Result<PathBuf> {
    if let Some(parent) = wanted.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        create_folder(parent)?;
    }
    for number in 0.. {
        let path = match number {
            0 => wanted.to_owned(),
            n => {
                let mut path = wanted.as_os_str().to_owned();
                path.push(format!("-{n}"));
                path.into()
            }
        };
        match std::fs::create_dir(&path) {
            Ok(()) => return Ok(path),
            Err(source) if source.kind() == std::io::ErrorKind::AlreadyExists => continue,
            Err(source) => return Err(Error::storage("cannot create folder", &path, &source)),
        }
    }
    unreachable!("the loop above ends only by returning")
}
