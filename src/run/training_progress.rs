//! Progress of a training on standard error.

use std::time::{Duration, Instant};

use indicatif::ProgressBar;

use crate::eval::Metrics;
use crate::progress::{self, LINE_INTERVAL};
use crate::train::meter::MeterMeans;
use crate::train::{AccuracyCounts, EpochReport, StepReport};

/// A model on the validation part after an epoch.
pub struct Validation {
    /// Mean cross entropy.
    pub loss: f64,
    pub accuracy: AccuracyCounts,
}

/// Time between two updates of the numbers beside the bar. Reading them waits for the device.
const REFRESH: Duration = Duration::from_millis(500);

/// A progress bar on a terminal, a log line every few seconds elsewhere.
pub struct TrainingProgress {
    /// `None` if log lines are shown instead.
    bar: Option<ProgressBar>,
    /// Time of the last numbers that were shown.
    shown: Instant,
    pass_started: Instant,
    /// Time of the last reported step or epoch: the next pass starts there.
    reported: Instant,
    /// Images of the current pass so far, over all ranks.
    images: usize,
}

impl TrainingProgress {
    /// `wanted`: whether to show a bar if standard error is a terminal.
    pub fn new(wanted: bool) -> Self {
        let bar = wanted.then(|| progress::bar("{prefix} [{bar:24}] {pos}/{len} {msg} ETA {eta}")).flatten();
        TrainingProgress {
            bar,
            shown: Instant::now(),
            pass_started: Instant::now(),
            reported: Instant::now(),
            images: 0,
        }
    }

    /// Counts a step. Returns whether it is time to show new numbers.
    pub fn step(&mut self, title: &str, report: &StepReport<'_>) -> bool {
        if report.step == 1 {
            self.images = 0;
            self.pass_started = self.reported;
            if let Some(bar) = &self.bar {
                bar.reset();
                bar.set_length(report.steps as u64);
                bar.set_prefix(format!("{title} epoch {}", report.epoch + 1));
            }
        }
        self.images += report.images;
        self.reported = Instant::now();
        if let Some(bar) = &self.bar {
            bar.set_position(report.step as u64);
        }
        let due = self.shown.elapsed() >= if self.bar.is_some() { REFRESH } else { LINE_INTERVAL };
        if due {
            self.shown = Instant::now();
        }
        due
    }

    /// Shows loss, accuracy and speed of the pass so far.
    pub fn show(&self, title: &str, report: &StepReport<'_>, means: &MeterMeans) {
        let rate = self.images as f64 / self.pass_started.elapsed().as_secs_f64().max(1e-9);
        let numbers = format!("loss {:.4}{} {rate:.0} images/s", means.loss, accuracies_of(means));
        match &self.bar {
            Some(bar) => bar.set_message(numbers),
            None => {
                let left = self.pass_started.elapsed().as_secs_f64() / report.step as f64
                    * (report.steps - report.step) as f64;
                tracing::info!(
                    "{title} epoch {} step {}/{} {numbers} ETA {left:.0} s",
                    report.epoch + 1,
                    report.step,
                    report.steps
                );
            }
        }
    }

    /// Logs the result of an epoch. `evaluated`: the metrics after the epoch, if the model was evaluated. `rate`: images
    /// per second.
    pub fn epoch(
        &mut self,
        title: &str,
        report: &EpochReport<'_>,
        validation: Option<&Validation>,
        evaluated: Option<&Metrics>,
        rate: f64,
    ) {
        let validation = validation.map_or(String::new(), |Validation { loss, accuracy }| {
            format!(" | val loss {loss:.4} acc {:.3}", accuracy.over_samples())
        });
        // The accuracies of the table say more than those of the training batches, whose images are augmented, and
        // normalised by the statistics of their batch.
        let accuracy = evaluated.map_or_else(|| accuracies_of(&report.means), accuracies_in);
        let line = format!(
            "{title} epoch {}/{} loss {:.4}{accuracy}{validation} | lr {:.3e} {rate:.0} images/s",
            report.epoch + 1,
            report.epochs,
            report.means.loss,
            report.learning_rate
        );
        match &self.bar {
            Some(bar) => bar.suspend(|| tracing::info!("{line}")),
            None => tracing::info!("{line}"),
        }
        self.reported = Instant::now();
    }
}

/// Accuracies of the training batches: ` acc 0.991`, or with the names of the terms if several have one.
fn accuracies_of(means: &MeterMeans) -> String {
    let found: Vec<(&str, f64)> =
        means.terms.iter().filter_map(|term| Some((term.name, term.accuracy.as_ref()?.over_samples()))).collect();
    match found.as_slice() {
        [] => String::new(),
        [(_, accuracy)] => format!(" acc {accuracy:.3}"),
        several => several.iter().map(|(name, accuracy)| format!(" acc({name}) {accuracy:.3}")).collect(),
    }
}

/// Accuracies of an evaluation, as in the table of results.
fn accuracies_in(metrics: &Metrics) -> String {
    let part = |part| metrics.get(&format!("acc_{part}")).map(|accuracy| format!(" acc({part}) {accuracy:.3}"));
    ["retain", "forget", "test"].into_iter().filter_map(part).collect()
}
