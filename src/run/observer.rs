//! Observes a training: shows progress, writes `metrics.jsonl`, and evaluates the model after each epoch.

use std::time::Instant;

use serde_json::{Map, Value};

use super::folder::RunFolder;
use super::limits::limited_samples;
use super::session::Session;
use super::training_progress::{TrainingProgress, Validation};
use crate::data::{DeviceDataset, Part};
use crate::distributed::World;
use crate::error::{Error, ErrorKind, Result};
use crate::eval::Metrics;
use crate::eval::collect;
use crate::models::Model;
use crate::report::json::number;
use crate::train::meter::MeterMeans;
use crate::train::{AccuracyCounts, EpochReport, Observer, StepReport};

/// Evaluates a model after an epoch. A collective call: rank 0 gets the metrics, the other ranks get `None`.
pub type EpochEvaluation<'a> = Box<dyn FnMut(&Model) -> Result<Option<Metrics>> + 'a>;

/// Observes one training.
pub struct TrainingObserver<'a> {
    // --- configuration ---
    world: &'a World,
    dataset: &'a DeviceDataset,
    /// The run folder; `None` on all ranks but rank 0.
    folder: Option<&'a RunFolder>,
    /// Role of the model, for log lines.
    title: String,
    /// Optimizer steps between two lines in `metrics.jsonl` (0: no such lines).
    log_every: usize,
    evaluation: Option<EpochEvaluation<'a>>,
    /// Samples of the validation after each epoch.
    validation_samples: usize,
    // --- runtime state ---
    progress: TrainingProgress,
    /// Optimizer steps so far.
    steps: usize,
    // --- results ---
    /// The evaluation after the last epoch, if there was one. It is also the final evaluation, so it is not repeated.
    /// Its metrics are at rank 0 only.
    pub last_evaluation: Option<Option<Metrics>>,
    /// Seconds of the evaluations after epochs.
    pub seconds_evaluating: f64,
    /// Samples of the samplers that end a pass, over all ranks.
    pub images: usize,
}

impl<'a> TrainingObserver<'a> {
    /// `title`: role of the model. `evaluation`: called after each epoch.
    ///
    /// # Errors
    /// `Usage` for a limit of the validation that leaves no whole batch.
    pub fn new(session: &'a Session, title: &str, evaluation: Option<EpochEvaluation<'a>>) -> Result<Self> {
        let (world, trainer) = (session.world(), &session.config().trainer);
        let (limit, key) = match trainer.overfit_batches.is_none() {
            true => (trainer.limit_val_batches, "trainer.limit_val_batches"),
            false => (trainer.overfit_batches, "trainer.overfit_batches"),
        };
        let validation_samples =
            limited_samples(session.config(), limit, key, session.dataset().indices(Part::Val).len())?;
        Ok(TrainingObserver {
            world,
            dataset: session.dataset(),
            folder: session.folder.as_ref(),
            title: title.to_owned(),
            log_every: trainer.log_every_n_steps,
            evaluation,
            validation_samples,
            progress: TrainingProgress::new(trainer.enable_progress_bar && world.is_root()),
            steps: 0,
            last_evaluation: None,
            seconds_evaluating: 0.0,
            images: 0,
        })
    }
}

impl Observer for TrainingObserver<'_> {
    fn step(&mut self, report: &StepReport<'_>) -> Result<()> {
        self.steps += 1;
        if self.log_every > 0 && self.steps.is_multiple_of(self.log_every) {
            self.log_step(report)?;
        }
        // The progress bar shows the samples of rank 0 only. That needs no collective, so no rank waits for it.
        if self.world.is_root() && self.progress.step(&self.title, report) {
            let means = report.meter.local_means()?;
            self.progress.show(&self.title, report, &means);
        }
        Ok(())
    }

    fn epoch(&mut self, report: &EpochReport<'_>) -> Result<()> {
        self.images += report.images;
        let rate = report.images as f64 / report.seconds.max(1e-9);
        let validation = validation(self.world, self.dataset, report.model, self.validation_samples)?;
        let clock = Instant::now();
        let evaluated = match &mut self.evaluation {
            Some(evaluate) => evaluate(report.model)?,
            None => None,
        };
        self.seconds_evaluating += clock.elapsed().as_secs_f64();
        if report.last && self.evaluation.is_some() {
            self.last_evaluation = Some(evaluated.clone());
        }
        let Some(folder) = self.folder else { return Ok(()) };

        let mut line = self.new_line(report.phase, report.epoch);
        add_means(&mut line, &report.means);
        for term in &report.means.terms {
            line.insert(format!("train/{}", term.name), number(term.loss));
            if let Some(accuracy) = &term.accuracy {
                add_accuracy(&mut line, &format!("train/{}_acc", term.name), accuracy);
            }
        }
        if let Some(validation) = &validation {
            line.insert("val/loss".into(), number(validation.loss));
            add_accuracy(&mut line, "val/acc", &validation.accuracy);
        }
        line.insert("lr".into(), number(report.learning_rate));
        line.insert("images_per_second".into(), number(rate));
        for (name, value) in evaluated.iter().flat_map(Metrics::iter) {
            line.insert(format!("evaluate/{name}"), number(value));
        }
        folder.add_metrics(line)?;
        self.progress.epoch(&self.title, report, validation.as_ref(), evaluated.as_ref(), rate);
        check_finite(&self.title, report, validation.as_ref())?;
        Ok(())
    }
}

/// An error if the validation loss is not finite. The trainer finds diverged weights by the gradient of the next step.
/// The last step of a training has no next one, so the validation loss shows them.
fn check_finite(title: &str, report: &EpochReport<'_>, validation: Option<&Validation>) -> Result<()> {
    match validation {
        Some(Validation { loss, .. }) if !loss.is_finite() => Err(Error::new(
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

impl TrainingObserver<'_> {
    /// Writes a line with the means of the epoch so far over all ranks. A collective call.
    fn log_step(&self, report: &StepReport<'_>) -> Result<()> {
        let means = report.meter.means_at_root(self.world)?;
        let (Some(means), Some(folder)) = (means, self.folder) else { return Ok(()) };
        let mut line = self.new_line(report.phase, report.epoch);
        add_means(&mut line, &means);
        line.insert("grad_norm".into(), number(report.grad_norm.f_double_value(&[])?));
        folder.add_metrics(line)
    }

    /// The start of a line of `metrics.jsonl`: phase, epoch (0-based here, counted from 1 in the file) and the optimizer
    /// steps since the start of the training.
    fn new_line(&self, phase: &str, epoch: usize) -> Map<String, Value> {
        let mut line = Map::new();
        line.insert("phase".into(), format!("{}/{phase}", self.title).into());
        line.insert("epoch".into(), (epoch + 1).into());
        line.insert("global_step".into(), self.steps.into());
        line
    }
}

/// Adds the training loss, and the accuracy if the method has one.
fn add_means(line: &mut Map<String, Value>, means: &MeterMeans) {
    line.insert("train/loss".into(), number(means.loss));
    if let Some(accuracy) = means.accuracy() {
        add_accuracy(line, "train/acc", accuracy);
    }
}

/// Adds the accuracy over classes that the Python program logs under this name, and the one over samples, as in the
/// results.
fn add_accuracy(line: &mut Map<String, Value>, name: &str, accuracy: &AccuracyCounts) {
    line.insert(name.to_owned(), number(accuracy.over_classes()));
    line.insert(format!("{name}_micro"), number(accuracy.over_samples()));
}

/// Mean cross entropy and accuracy on the first `samples` of val. A collective call: `None` without samples, and on all
/// ranks but rank 0.
fn validation(world: &World, dataset: &DeviceDataset, model: &Model, samples: usize) -> Result<Option<Validation>> {
    if samples == 0 {
        return Ok(None);
    }
    let Some(logits) = collect::logits_of_first(world, dataset, model, Part::Val, samples)? else { return Ok(None) };
    let mut accuracy = AccuracyCounts::new(logits.num_classes);
    let predicted: Vec<i64> = (0..logits.len()).map(|sample| logits.predicted_class(sample) as i64).collect();
    accuracy.add(&predicted, &logits.labels)?;
    let total: f64 = logits.predict().iter().map(|sample| -f64::from(sample.label_log_probability())).sum();
    Ok(Some(Validation { loss: total / logits.len() as f64, accuracy }))
}
