//! How far a download is: a bar on a terminal, a line now and then elsewhere.

use std::time::{Duration, Instant};

use indicatif::{HumanBytes, ProgressBar, ProgressDrawTarget, ProgressStyle};

/// Off a terminal there is one line this often.
const LINE_EVERY: Duration = Duration::from_secs(10);

pub(super) struct Progress {
    bar: Option<ProgressBar>,
    name: String,
    said: Instant,
}

impl Progress {
    pub fn new(name: &str) -> Self {
        let style = ProgressStyle::with_template("{prefix} [{bar:24}] {bytes}/{total_bytes} {bytes_per_sec} ETA {eta}")
            .unwrap_or_else(|_| ProgressStyle::default_bar());
        let bar = ProgressBar::with_draw_target(Some(0), ProgressDrawTarget::stderr_with_hz(4)).with_style(style);
        bar.set_prefix(name.to_owned());
        // Off a terminal indicatif draws nothing: the lines stand in.
        Progress { bar: (!bar.is_hidden()).then_some(bar), name: name.to_owned(), said: Instant::now() }
    }

    /// So many bytes are here, of so many.
    pub fn at(&mut self, bytes: u64, of: Option<u64>) {
        if let Some(bar) = &self.bar {
            bar.set_length(of.unwrap_or(bytes));
            bar.set_position(bytes);
        } else if self.said.elapsed() >= LINE_EVERY {
            self.said = Instant::now();
            let of = of.map_or(String::new(), |of| format!(" of {}", HumanBytes(of)));
            tracing::info!("{}: {}{of}", self.name, HumanBytes(bytes));
        }
    }

    /// Says something without tearing the bar.
    pub fn warn(&self, text: &str) {
        match &self.bar {
            Some(bar) => bar.suspend(|| tracing::warn!("{text}")),
            None => tracing::warn!("{text}"),
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
