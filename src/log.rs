//! Logging: messages go to standard error and to the run's `train.log`. Messages from before there is a run folder are
//! kept for the file.
//!
//! On standard error a line is the message alone, with `warning:` or `error:` before it for those levels. In the file a
//! line also has time and level.

use std::fmt;
use std::fs::File;
use std::io::{self, Write};
use std::sync::{Mutex, PoisonError};

use tracing::{Level, Subscriber};
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::fmt::format::{self, FormatEvent, FormatFields};
use tracing_subscriber::fmt::{FmtContext, MakeWriter, layer};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt;

static LOG: Mutex<Log> = Mutex::new(Log::Early(Vec::new()));

/// Largest number of bytes of early messages.
const EARLY_BYTES: usize = 1 << 20;

/// The log files of the process.
enum Log {
    /// The messages before the first file. It begins with them.
    Early(Vec<u8>),
    /// The file of the command and, while one of its steps runs, the file of the step.
    Files(Vec<File>),
}

impl Log {
    fn write(&mut self, bytes: &[u8]) {
        match self {
            Log::Early(early) if early.len() + bytes.len() <= EARLY_BYTES => early.extend_from_slice(bytes),
            Log::Early(_) => {}
            Log::Files(files) => files.iter_mut().for_each(|file| drop(file.write_all(bytes))),
        }
    }
}

/// Starts logging. `verbosity` is the number of `-v` flags. Only rank 0 (`root`) logs everything; the other ranks would
/// repeat its messages, so they log only errors unless `verbosity` is 2 or more.
pub fn init(verbosity: u8, root: bool) {
    let level = match verbosity {
        0 | 1 if !root => LevelFilter::ERROR,
        0 => LevelFilter::INFO,
        1 => LevelFilter::DEBUG,
        _ => LevelFilter::TRACE,
    };
    let terminal = layer().with_writer(io::stderr).event_format(LineFormat { time: false });
    let file = layer().with_ansi(false).with_writer(LogFileWriter).event_format(LineFormat { time: true });
    // If logging has already started in this process (in tests), the first start stays in effect.
    let _ = tracing_subscriber::registry().with(level).with(terminal).with(file).try_init();
}

/// From now on messages also go to `file`, after those of the process so far. It replaces all files of earlier calls.
pub fn set_log_file(file: File) {
    let mut log = LOG.lock().unwrap_or_else(PoisonError::into_inner);
    let early = match std::mem::replace(&mut *log, Log::Files(vec![file])) {
        Log::Early(early) => early,
        Log::Files(_) => Vec::new(),
    };
    log.write(&early);
}

/// From now on messages also go to `file`, the log of a step of the command, besides the log of the command. It
/// replaces the file of an earlier step.
pub fn set_step_log_file(file: File) {
    match &mut *LOG.lock().unwrap_or_else(PoisonError::into_inner) {
        Log::Files(files) => {
            files.truncate(1);
            files.push(file);
        }
        early => *early = Log::Files(vec![file]),
    }
}

/// Messages no longer go to the file of a step.
pub fn end_step_log_file() {
    if let Log::Files(files) = &mut *LOG.lock().unwrap_or_else(PoisonError::into_inner) {
        files.truncate(1);
    }
}

/// Formats a message as one line.
struct LineFormat {
    /// Begin the line with time and level.
    time: bool,
}

impl<S, N> FormatEvent<S, N> for LineFormat
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut out: format::Writer<'_>,
        event: &tracing::Event<'_>,
    ) -> fmt::Result {
        let level = *event.metadata().level();
        if self.time {
            write!(out, "{} {level:5} ", jiff::Zoned::now().strftime("%Y-%m-%d %H:%M:%S"))?;
        } else if level == Level::WARN {
            out.write_str("warning: ")?;
        } else if level == Level::ERROR {
            out.write_str("error: ")?;
        }
        context.field_format().format_fields(out.by_ref(), event)?;
        writeln!(out)
    }
}

/// Writes to the log files. Errors are ignored: a full disk must not end a run because of a log line.
struct LogFileWriter;

impl Write for LogFileWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        LOG.lock().unwrap_or_else(PoisonError::into_inner).write(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for LogFileWriter {
    type Writer = LogFileWriter;

    fn make_writer(&self) -> LogFileWriter {
        LogFileWriter
    }
}
