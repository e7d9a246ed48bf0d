//! Messages: to standard error, and to the run's `train.log` as soon as there is a run folder.
//!
//! Standard error is for people: the message alone, with `warning:` or `error:` before it where it is one. The file
//! has time and level too.

use std::fmt;
use std::fs::File;
use std::io::{self, Write};
use std::sync::{Mutex, PoisonError};

use tracing::{Event, Level, Subscriber};
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::fmt::format::{FormatEvent, FormatFields, Writer};
use tracing_subscriber::fmt::{FmtContext, MakeWriter, layer};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt;

static LOG_FILE: Mutex<Option<File>> = Mutex::new(None);

/// Starts logging; `verbosity` counts the `-v` flags. Ranks other than the first (`root`) only speak up for errors,
/// unless asked for everything: they would say the same.
pub fn init(verbosity: u8, root: bool) {
    let level = match verbosity {
        0 | 1 if !root => LevelFilter::ERROR,
        0 => LevelFilter::INFO,
        1 => LevelFilter::DEBUG,
        _ => LevelFilter::TRACE,
    };
    let people = layer().with_writer(io::stderr).event_format(Plain { time: false });
    let file = layer().with_ansi(false).with_writer(ToFile).event_format(Plain { time: true });
    // A second start in one process (tests) keeps the first.
    let _ = tracing_subscriber::registry().with(level).with(people).with(file).try_init();
}

/// From now on messages go to this file as well, and no longer to an earlier one.
pub fn also_to(file: File) {
    *LOG_FILE.lock().unwrap_or_else(PoisonError::into_inner) = Some(file);
}

struct Plain {
    time: bool,
}

impl<S, N> FormatEvent<S, N> for Plain
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, context: &FmtContext<'_, S, N>, mut out: Writer<'_>, event: &Event<'_>) -> fmt::Result {
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

/// Writes to the log file where there is one. A full disk must not end a run for want of a log line.
struct ToFile;

impl Write for ToFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if let Some(file) = LOG_FILE.lock().unwrap_or_else(PoisonError::into_inner).as_mut() {
            let _ = file.write_all(bytes);
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for ToFile {
    type Writer = ToFile;

    fn make_writer(&self) -> ToFile {
        ToFile
    }
}
