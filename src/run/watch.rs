//! What a user sees of a training, and what `metrics.jsonl` keeps of it.

use std::time::{Duration, Instant};

use indicatif::ProgressBar;
use serde_json::Map;

use super::folder::RunFolder;
use crate::data::{DeviceDataset, Part};
use crate::distributed::World;
use crate::error::{Error, ErrorKind, Result};
use crate::eval::Metrics;
use crate::eval::collect;
use crate::models::Model;
use crate::progress::{self, LINE_EVERY};
use crate::report::json::number;
use crate::train::MacroAccuracy;
use crate::train::{EpochReport, Observer, StepReport};

/// On a terminal the bar shows new numbers this often; reading them waits for the device.
const REFRESH: Duration = Duration::from_millis(500);

/// Evaluates a model after an epoch; `None` where nobody asks for it. Called on all ranks, answers at rank 0.
pub type EpochEvaluation<'a> = Box<dyn FnMut(&Model) -> Result<Option<Metrics>> + 'a>;

/// Watches one training.
pub struct Watch<'a> {
    world: &'a World,
    dataset: &'a DeviceDataset,
    /// None on all ranks but the first.
    folder: Option<&'a RunFolder>,
    title: String,
    progress: Progress,
    /// Steps so far, and how many of them make a line in `metrics.jsonl` (0: none).
    steps: usize,
    log_every: usize,
    evaluation: Option<EpochEvaluation<'a>>,
    /// The evaluation after the last epoch, if there was one: the final one, not done twice. At rank 0 with metrics.
    pub last: Option<Option<Metrics>>,
    pub seconds_evaluating: f64,
    pub images: usize,
}

impl<'a> Watch<'a> {
    pub fn new(
        world: &'a World,
        dataset: &'a DeviceDataset,
        folder: Option<&'a RunFolder>,
        title: &str,
        bar: bool,
    ) -> Self {
        Watch {
            world,
            dataset,
            folder,
            title: title.to_owned(),
            progress: Progress::new(bar && world.is_root()),
            steps: 0,
            log_every: 0,
            evaluation: None,
            last: None,
            seconds_evaluating: 0.0,
            images: 0,
        }
    }

    /// Also writes a line after every `steps` optimizer steps (`trainer.log_every_n_steps`).
    pub fn logging_every(mut self, steps: usize) -> Self {
        self.log_every = steps;
        self
    }

    /// Also evaluates after each epoch.
    pub fn evaluating(mut self, evaluation: EpochEvaluation<'a>) -> Self {
        self.evaluation = Some(evaluation);
        self
    }
}

impl Observer for Watch<'_> {
    fn step(&mut self, report: &StepReport<'_>) -> Result<()> {
        self.steps += 1;
        if self.log_every > 0 && self.steps.is_multiple_of(self.log_every) {
            self.log_step(report)?;
        }
        // Rank 0's own samples will do for a progress bar: no collective, so no rank waits for it.
        if self.world.is_root() && self.progress.step(&self.title, report) {
            let means = report.meter.local_means()?;
            self.progress.show(&self.title, report, means.loss, means.accuracy());
        }
        Ok(())
    }

    fn epoch(&mut self, report: &EpochReport<'_>) -> Result<()> {
        self.images += report.images;
        let rate = report.images as f64 / report.seconds.max(1e-9);
        let validation = validation(self.world, self.dataset, report.model)?;
        let clock = Instant::now();
        let evaluated = match &mut self.evaluation {
            Some(evaluate) => evaluate(report.model)?,
            None => None,
        };
        self.seconds_evaluating += clock.elapsed().as_secs_f64();
        if report.last && self.evaluation.is_some() {
            self.last = Some(evaluated.clone());
        }
        let Some(folder) = self.folder else { return Ok(()) };

        let mut line = Map::new();
        line.insert("phase".into(), format!("{}/{}", self.title, report.phase).into());
        line.insert("epoch".into(), (report.epoch + 1).into());
        line.insert("train/loss".into(), number(report.means.loss));
        if let Some(accuracy) = report.means.accuracy() {
            line.insert("train/acc".into(), number(accuracy));
        }
        for (name, mean, accuracy) in &report.means.terms {
            line.insert(format!("train/{name}"), number(*mean));
            if let Some(accuracy) = accuracy {
                line.insert(format!("train/{name}_acc"), number(*accuracy));
            }
        }
        if let Some((loss, accuracy)) = validation {
            line.insert("val/loss".into(), number(loss));
            line.insert("val/acc".into(), number(accuracy));
        }
        line.insert("lr".into(), number(report.learning_rate));
        line.insert("images_per_second".into(), number(rate));
        for (name, value) in evaluated.iter().flat_map(Metrics::iter) {
            line.insert(format!("evaluate/{name}"), number(value));
        }
        folder.add_metrics(&line)?;
        self.progress.epoch(&self.title, report, validation, rate);
        check_finite(&self.title, report, validation)?;
        Ok(())
    }
}

/// The last step of a training has no next one whose gradient would tell that the weights have run away.
fn check_finite(title: &str, report: &EpochReport<'_>, validation: Option<(f64, f64)>) -> Result<()> {
    match validation {
        Some((loss, _)) if !loss.is_finite() => Err(Error::new(
            ErrorKind::NonFinite,
            format!(
                "{title}, phase {}: the validation loss is {loss} after epoch {}: the weights have diverged and are \
                 not kept",
                report.phase,
                report.epoch + 1
            ),
        )
        .hint("lower the learning rate, or set trainer.gradient_clip_val")),
        _ => Ok(()),
    }
}

impl Watch<'_> {
    /// A line with the means of the epoch so far; all ranks add theirs.
    fn log_step(&self, report: &StepReport<'_>) -> Result<()> {
        let means = report.meter.means_at_root(self.world)?;
        let (Some(means), Some(folder)) = (means, self.folder) else { return Ok(()) };
        let mut line = Map::new();
        line.insert("phase".into(), format!("{}/{}", self.title, report.phase).into());
        line.insert("epoch".into(), (report.epoch + 1).into());
        line.insert("step".into(), self.steps.into());
        line.insert("train/loss".into(), number(means.loss));
        if let Some(accuracy) = means.accuracy() {
            line.insert("train/acc".into(), number(accuracy));
        }
        line.insert("grad_norm".into(), number(report.grad_norm.f_double_value(&[])?));
        folder.add_metrics(&line)
    }
}

/// Mean cross entropy and macro accuracy on val; at rank 0, where there is a val part.
fn validation(world: &World, dataset: &DeviceDataset, model: &Model) -> Result<Option<(f64, f64)>> {
    if dataset.indices(Part::Val).is_empty() {
        return Ok(None);
    }
    let Some(logits) = collect::logits(world, dataset, model, Part::Val)? else { return Ok(None) };
    let mut accuracy = MacroAccuracy::new(logits.num_classes);
    let predicted: Vec<i64> = (0..logits.len()).map(|sample| logits.predicted_class(sample) as i64).collect();
    accuracy.add(&predicted, &logits.labels)?;
    let total: f64 = logits.predict().iter().map(|sample| -f64::from(sample.label_log_probability())).sum();
    Ok(Some((total / logits.len() as f64, accuracy.value())))
}

/// A bar on a terminal, a line now and then elsewhere.
struct Progress {
    bar: Option<ProgressBar>,
    shown: Instant,
    pass_began: Instant,
    /// When the last step or epoch was told: the next pass begins there.
    told: Instant,
    images: usize,
}

impl Progress {
    fn new(wanted: bool) -> Self {
        let bar = wanted.then(|| progress::bar("{prefix} [{bar:24}] {pos}/{len} {msg} ETA {eta}")).flatten();
        Progress { bar, shown: Instant::now(), pass_began: Instant::now(), told: Instant::now(), images: 0 }
    }

    /// Counts a step. Says whether it is time to show numbers.
    fn step(&mut self, title: &str, report: &StepReport<'_>) -> bool {
        if report.step == 1 {
            self.images = 0;
            self.pass_began = self.told;
            if let Some(bar) = &self.bar {
                bar.reset();
                bar.set_length(report.steps as u64);
                bar.set_prefix(format!("{title} epoch {}", report.epoch + 1));
            }
        }
        self.images += report.images;
        self.told = Instant::now();
        if let Some(bar) = &self.bar {
            bar.set_position(report.step as u64);
        }
        let due = self.shown.elapsed() >= if self.bar.is_some() { REFRESH } else { LINE_EVERY };
        if due {
            self.shown = Instant::now();
        }
        due
    }

    fn show(&self, title: &str, report: &StepReport<'_>, loss: f64, accuracy: Option<f64>) {
        let rate = self.images as f64 / self.pass_began.elapsed().as_secs_f64().max(1e-9);
        let accuracy = accuracy.map_or(String::new(), |value| format!(" acc {value:.3}"));
        let numbers = format!("loss {loss:.4}{accuracy} {rate:.0} images/s");
        match &self.bar {
            Some(bar) => bar.set_message(numbers),
            None => {
                let left =
                    self.pass_began.elapsed().as_secs_f64() / report.step as f64 * (report.steps - report.step) as f64;
                tracing::info!(
                    "{title} epoch {} step {}/{} {numbers} ETA {left:.0} s",
                    report.epoch + 1,
                    report.step,
                    report.steps
                );
            }
        }
    }

    fn epoch(&mut self, title: &str, report: &EpochReport<'_>, validation: Option<(f64, f64)>, rate: f64) {
        let accuracy = report.means.accuracy().map_or(String::new(), |value| format!(" acc {value:.3}"));
        let validation = validation.map_or(String::new(), |(loss, acc)| format!(" | val loss {loss:.4} acc {acc:.3}"));
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
        self.told = Instant::now();
    }
}
