//! How far a long preparation is: a bar on a terminal, a line now and then elsewhere.

use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// Off a terminal there is one line this often.
const LINE_EVERY: Duration = Duration::from_secs(10);

pub struct Progress {
    title: String,
    total: u64,
    done: u64,
    unit: &'static str,
    bar: Option<ProgressBar>,
    began: Instant,
    shown: Instant,
}

impl Progress {
    pub fn new(title: &str, total: u64, unit: &'static str) -> Self {
        let style = ProgressStyle::with_template("{prefix} [{bar:24}] {pos}/{len} {per_sec} ETA {eta}")
            .unwrap_or_else(|_| ProgressStyle::default_bar());
        let bar = ProgressBar::with_draw_target(Some(total), ProgressDrawTarget::stderr()).with_style(style);
        bar.set_prefix(title.to_owned());
        // Off a terminal indicatif draws nothing: the lines stand in. Only the rank that speaks shows anything.
        let bar = Some(bar).filter(|bar| !bar.is_hidden() && tracing::enabled!(tracing::Level::INFO));
        let now = Instant::now();
        Progress { title: title.to_owned(), total, done: 0, unit, bar, began: now, shown: now }
    }

    pub fn advance(&mut self, by: u64) {
        self.done += by;
        match &self.bar {
            Some(bar) => bar.set_position(self.done),
            None if self.shown.elapsed() >= LINE_EVERY => {
                self.shown = Instant::now();
                let seconds = self.began.elapsed().as_secs_f64();
                let left = seconds / self.done as f64 * self.total.saturating_sub(self.done) as f64;
                let (title, done, total, unit) = (&self.title, self.done, self.total, self.unit);
                let rate = done as f64 / seconds;
                tracing::info!("{title}: {done}/{total}, {rate:.0} {unit}/s, ETA {left:.0} s");
            }
            None => {}
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
