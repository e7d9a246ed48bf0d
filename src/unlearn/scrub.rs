//! SCRUB: moves away from a teacher on forget data and towards it on retain data (Kurmanji et al. 2023, arXiv
//! 2302.09880).
//!
//! With E epochs, f0 the teacher (a frozen copy of the initial model) and T the temperature, an epoch is
//!
//! ```text
//! one pass over forget, only in the first max(1, E / 2) epochs:   minimise -KL(B_f)
//! one pass over retain:                                           minimise alpha KL(B_r) + gamma CE(f; B_r)
//!
//! KL(B) = T^2 * mean over B of KL(softmax(f0 / T) to softmax(f / T))
//! ```
//!
//! All passes share one optimizer, so momentum carries over from pass to pass. The retain pass walks the whole retain
//! set, not a subset.
//!
//! The teacher stays in evaluation mode. In the Python program an evaluation after an epoch puts it into train mode
//! from the second epoch on, with the statistics of the batch. `compat.scrub_teacher_mode` reproduces that.

use serde::Deserialize;
use tch::{Kind, Tensor, no_grad};

use super::settings::{check_non_negative, check_positive, method_settings, single_phase};
use crate::config::schema::UnlearnConfig;
use crate::data::{Batch, Part, Sampler};
use crate::error::{Error, ErrorKind, Result};
use crate::models::Model;
use crate::train::loss::{cross_entropy_sum, kl_sum};
use crate::train::{Method, Pass, Phase, Step, Term, TrainContext};

/// SCRUB's own keys of the group `unlearn`.
#[derive(Debug, Clone, Copy, Deserialize)]
pub struct ScrubSettings {
    /// Weight of KL on retain.
    pub alpha: f64,
    /// Weight of CE on retain.
    pub gamma: f64,
    pub temperature: f64,
}

/// SCRUB as a training method, with the teacher once `prepare` has made it.
pub struct Scrub {
    settings: ScrubSettings,
    phase: Phase,
    evaluate_each_epoch: bool,
    /// A frozen copy of the initial model, made by `prepare`.
    teacher: Option<Model>,
    /// First epoch with the teacher in train mode. None: it stays in evaluation mode.
    train_mode_from: Option<usize>,
}

pub fn build(config: &UnlearnConfig) -> Result<Box<dyn Method>> {
    let settings: ScrubSettings = method_settings(config)?;
    check_non_negative(config, &[("alpha", settings.alpha), ("gamma", settings.gamma)])?;
    check_positive(config, &[("temperature", settings.temperature)])?;
    Ok(Box::new(Scrub::new(settings, single_phase(config), config.evaluate_each_epoch)))
}

impl Scrub {
    /// `evaluate_each_epoch` has an effect only with `compat.scrub_teacher_mode`.
    pub fn new(settings: ScrubSettings, phase: Phase, evaluate_each_epoch: bool) -> Self {
        Scrub { settings, phase, evaluate_each_epoch, teacher: None, train_mode_from: None }
    }

    /// True if the teacher is in train mode in this epoch.
    fn teacher_in_train_mode(&self, epoch: usize) -> bool {
        self.train_mode_from.is_some_and(|first| epoch >= first)
    }

    /// Softmax of the teacher's logits over the temperature, [n, K].
    fn teacher_probabilities(&self, step: &Step<'_>, batch: &Batch) -> Result<Tensor> {
        let no_teacher = || Error::new(ErrorKind::Bug, "SCRUB trains before its teacher is made");
        let teacher = self.teacher.as_ref().ok_or_else(no_teacher)?;
        step.world.count_images(&format!("{}/teacher", step.purpose), batch.shard.len());
        let logits = no_grad(|| match self.teacher_in_train_mode(step.epoch) {
            true => step.train_teacher(teacher, batch),
            false => step.eval_model(teacher, &batch.images),
        })?;
        Ok((logits / self.settings.temperature).softmax(-1, None::<Kind>))
    }

    /// Logits [n, K] of `batch`, and T^2 times the sum of its divergences from the teacher, a scalar in nats.
    fn kl(&self, step: &Step<'_>, batch: &Batch) -> Result<(Tensor, Tensor)> {
        let temperature = self.settings.temperature;
        let target = self.teacher_probabilities(step, batch)?;
        let logits = step.train(batch)?;
        let kl = kl_sum(&target, &logits, temperature) * temperature.powi(2);
        Ok((logits, kl))
    }
}

const FORGET: &str = "forget";
const RETAIN: &str = "retain";

impl Method for Scrub {
    fn prepare(&mut self, context: &mut TrainContext<'_>) -> Result<()> {
        self.teacher = Some(context.model.frozen_copy()?);
        let changes_mode = context.settings.compat.scrub_teacher_mode && self.evaluate_each_epoch;
        self.train_mode_from = changes_mode.then_some(1);
        Ok(())
    }

    fn phases(&self) -> Vec<Phase> {
        vec![self.phase.clone()]
    }

    fn passes(&self, _: usize, epoch: usize) -> Vec<Pass> {
        let retain = Pass::new(RETAIN, [Sampler::train(Part::Retain)]);
        if epoch < (self.phase.epochs / 2).max(1) {
            vec![Pass::new(FORGET, [Sampler::train(Part::Forget)]), retain]
        } else {
            vec![retain]
        }
    }

    fn graph_key(&self, _: usize, epoch: usize) -> Option<u64> {
        Some(u64::from(self.teacher_in_train_mode(epoch)))
    }

    fn losses(&mut self, step: &Step<'_>) -> Result<Vec<Term>> {
        if step.pass == FORGET {
            let forget = step.batch(Part::Forget.name())?;
            let (logits, kl) = self.kl(step, forget)?;
            return Ok(vec![Term::over(forget, "forget_kl", -1.0, kl).with_accuracy(&logits, forget)]);
        }
        let retain = step.batch(Part::Retain.name())?;
        let (logits, kl) = self.kl(step, retain)?;
        let ce = cross_entropy_sum(&logits, &retain.labels, 0.0);
        Ok(vec![
            Term::over(retain, "retain_kl", self.settings.alpha, kl),
            Term::over(retain, "retain_ce", self.settings.gamma, ce).with_accuracy(&logits, retain),
        ])
    }
}
