//! Progress of long work: a bar on a terminal, otherwise a log line every ten seconds.

use std::time::{Duration, Instant};

use indicatif::{HumanBytes, ProgressBar, ProgressDrawTarget, ProgressFinish, ProgressStyle};

/// Time between two progress lines if standard error is no terminal.
pub const LINE_INTERVAL: Duration = Duration::from_secs(10);

/// The unit of the amounts.
#[derive(Debug, Clone, Copy)]
pub enum Unit {
    Bytes,
    /// Items with this name in the plural.
    Items(&'static str),
}

/// Shows the part done of a known or unknown total. Only rank 0 shows it.
pub struct Progress {
    title: String,
    unit: Unit,
    bar: Option<ProgressBar>,
    /// Time and amount at the start. The amount is not zero if a download resumes an earlier one.
    began: Option<(Instant, u64)>,
    /// Time of the last line.
    last_line: Instant,
}

impl Progress {
    /// `title`: name of the work. `unit`: unit of the amounts.
    pub fn new(title: &str, unit: Unit) -> Self {
        let bar = bar(match unit {
            Unit::Bytes => "{prefix} [{bar:24}] {bytes}/{total_bytes} {bytes_per_sec} ETA {eta}",
            Unit::Items(_) => "{prefix} [{bar:24}] {pos}/{len} {per_sec} ETA {eta}",
        });
        let bar = bar.map(|bar| bar.with_prefix(title.to_owned()));
        Progress { title: title.to_owned(), unit, bar, began: None, last_line: Instant::now() }
    }

    /// Shows that `done` of `total` is done. `total` is `None` if it is not known.
    pub fn update(&mut self, done: u64, total: Option<u64>) {
        let (began, from) = match self.began {
            Some(began) if began.1 <= done => began,
            _ => *self.began.insert((Instant::now(), done)), // the first call, or the work has started again
        };
        if let Some(bar) = &self.bar {
            bar.set_length(total.unwrap_or(done));
            bar.set_position(done);
        } else if self.last_line.elapsed() >= LINE_INTERVAL {
            self.last_line = Instant::now();
            let rate = done.saturating_sub(from) as f64 / began.elapsed().as_secs_f64();
            tracing::info!("{}: {}", self.title, line(self.unit, done, total, rate));
        }
    }

    /// Logs a warning above the bar.
    pub fn warn(&self, text: &str) {
        match &self.bar {
            Some(bar) => bar.suspend(|| tracing::warn!("{text}")),
            None => tracing::warn!("{text}"),
        }
    }
}

/// A bar on standard error that disappears when it is dropped. `None` if standard error is no terminal or this rank
/// logs only errors.
pub fn bar(template: &str) -> Option<ProgressBar> {
    let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
    let bar = ProgressBar::with_draw_target(Some(0), ProgressDrawTarget::stderr_with_hz(4))
        .with_style(style)
        .with_finish(ProgressFinish::AndClear);
    (!bar.is_hidden() && tracing::enabled!(tracing::Level::INFO)).then_some(bar)
}

/// The text of a progress line. `rate` is in units per second.
fn line(unit: Unit, done: u64, total: Option<u64>, rate: f64) -> String {
    let amount = |n: u64| match unit {
        Unit::Bytes => HumanBytes(n).to_string(),
        Unit::Items(_) => n.to_string(),
    };
    let name = match unit {
        Unit::Bytes => String::new(),
        Unit::Items(name) => format!(" {name}"),
    };
    let of = total.map_or(String::new(), |total| format!(" of {}", amount(total)));
    let eta = match total {
        Some(total) if rate > 0.0 => format!(", ETA {:.0} s", total.saturating_sub(done) as f64 / rate),
        _ => String::new(),
    };
    format!("{}{of}{name}, {}{name}/s{eta}", amount(done), amount(rate as u64))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_have_amount_rate_and_remaining_time() {
        assert_eq!(line(Unit::Items("images"), 500, Some(2500), 40.0), "500 of 2500 images, 40 images/s, ETA 50 s");
        assert_eq!(
            line(Unit::Bytes, 3 << 20, Some(5 << 20), f64::from(1 << 20)),
            "3.00 MiB of 5.00 MiB, 1.00 MiB/s, ETA 2 s"
        );
        assert_eq!(line(Unit::Bytes, 2048, None, 1024.0), "2.00 KiB, 1.00 KiB/s");
        assert_eq!(line(Unit::Bytes, 0, Some(1024), 0.0), "0 B of 1.00 KiB, 0 B/s");
    }
}
