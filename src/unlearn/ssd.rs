//! SSD, selective synaptic dampening: shrink the weights that matter more for forget data than for the data as a whole
//! (Foster et al. 2024, arXiv 2308.07707). Nothing trains.
//!
//! ```text
//! D = Fisher diagonal over retain and forget        F = Fisher diagonal over forget
//! where F > alpha D:    theta *= min(lambda D / (F + 1e-12), 1)
//! ```
//!
//! Evaluation mode, evaluation transforms, not shuffled; cross entropy alone, whatever the model was trained with.
//! Weights change, BatchNorm's running averages do not. All sums are float64, whatever the dtype of the model. The sums
//! over forget are part of those over all data, so they are taken once. With `freeze_backbone` only the head is edited.
//!
//! D holds the forget samples too, so F <= (n / n_forget) D in every weight: with alpha at or above that ratio nothing
//! can change. The shipped alpha of 10 is such a setting wherever at least a tenth of the training data is forgotten;
//! as in the Python program it is carried out all the same, but a warning says so before the work starts.

use serde::Deserialize;
use tch::{Tensor, no_grad};

use super::fisher::squared_gradient_sums;
use super::settings;
use crate::config::schema::UnlearnConfig;
use crate::data::Part;
use crate::error::{Error, ErrorKind, Result};
use crate::train::{Method, Pass, Phase, Step, Term, Trainer};

/// Keeps the quotient finite where F is 0.
const EPS: f64 = 1e-12;

/// SSD's own keys of the group `unlearn`.
#[derive(Debug, Clone, Copy, Deserialize)]
pub struct Settings {
    /// How much more a weight must matter for forget before it is dampened.
    pub alpha: f64,
    /// How much of its value a dampened weight keeps, in units of D / F.
    pub lambda: f64,
    /// Images whose single gradients are worked on at a time: a bound of memory, the result does not depend on it.
    pub fim_microbatch_size: usize,
}

/// What the edit went by and what it did.
pub struct Edit {
    /// For each parameter, in layout order: D and F, float64.
    pub fisher: Vec<(Tensor, Tensor)>,
    /// For each parameter, how many of its elements met F > alpha D.
    pub dampened: Vec<i64>,
}

pub struct Ssd {
    settings: Settings,
    edit: Option<Edit>,
}

pub fn build(config: &UnlearnConfig) -> Result<Box<dyn Method>> {
    let own: Settings = settings(config)?;
    for (key, value) in [("alpha", own.alpha), ("lambda", own.lambda)] {
        if !(value >= 0.0 && value.is_finite()) {
            return Err(config.method.reject(key, "a number, at least 0"));
        }
    }
    if own.fim_microbatch_size == 0 {
        return Err(config.method.reject("fim_microbatch_size", "an integer, at least 1"));
    }
    Ok(Box::new(Ssd::new(own)))
}

impl Ssd {
    pub fn new(settings: Settings) -> Self {
        Ssd { settings, edit: None }
    }

    /// Made by `prepare`.
    pub fn edit(&self) -> Option<&Edit> {
        self.edit.as_ref()
    }

    /// Multiplies the weights that F > alpha D; returns how many that were.
    fn dampen(&self, weight: &Tensor, d: &Tensor, f: &Tensor) -> Result<i64> {
        let Settings { alpha, lambda, .. } = self.settings;
        let chosen = f.f_gt_tensor(&d.f_mul_scalar(alpha)?)?;
        let factor = d.f_mul_scalar(lambda)?.f_div(&f.f_add_scalar(EPS)?)?.f_clamp_max(1.0)?;
        let dampened = weight.f_mul(&factor)?.f_to_kind(weight.f_kind()?)?;
        weight.f_detach()?.f_copy_(&dampened.f_where_self(&chosen, weight)?)?;
        Ok(chosen.f_count_nonzero_dim_intlist([0i64; 0].as_slice()).and_then(|n| n.f_int64_value(&[]))?)
    }
}

impl Method for Ssd {
    fn prepare(&mut self, trainer: &mut Trainer<'_>) -> Result<()> {
        let Settings { alpha, fim_microbatch_size, .. } = self.settings;
        let [forget, retain] = [Part::Forget, Part::Retain].map(|role| trainer.dataset.indices(role).len());
        if forget == 0 {
            return Err(Error::usage("unlearn=ssd: the split leaves no `forget` samples")
                .hint("look at the sizes with `regun splits`, and change split.forget_frac"));
        }
        let all = forget + retain;
        if alpha >= all as f64 / forget as f64 && trainer.world.is_root() {
            tracing::warn!(
                "unlearn.alpha={alpha} cannot change any weight: the Fisher information of the {forget} forget samples is at \
                 most {all} / {forget} = {:.3} times that of all {all} samples; set it below that",
                all as f64 / forget as f64
            );
        }
        let forget_sums = squared_gradient_sums(trainer, Part::Forget, fim_microbatch_size)?;
        let retain_sums = squared_gradient_sums(trainer, Part::Retain, fim_microbatch_size)?;

        let model = &*trainer.model;
        let head = model.architecture().head();
        let (mut fisher, mut dampened) = (Vec::new(), Vec::new());
        no_grad(|| -> Result<()> {
            for ((slot, _, weight), (f, r)) in model.state.parameters().zip(forget_sums.iter().zip(&retain_sums)) {
                let d = f.f_add(r)?.f_div_scalar(all as f64)?;
                let f = f.f_div_scalar(forget as f64)?;
                let learns = !trainer.settings.freeze_backbone || head.contains(&slot);
                dampened.push(if learns { self.dampen(weight, &d, &f)? } else { 0 });
                fisher.push((d, f));
            }
            Ok(())
        })?;
        if trainer.world.is_root() {
            let weights = model.state.layout().num_parameters();
            tracing::info!("SSD dampened {} of {weights} weights", dampened.iter().sum::<i64>());
        }
        self.edit = Some(Edit { fisher, dampened });
        Ok(())
    }

    fn phases(&self) -> Vec<Phase> {
        Vec::new()
    }

    fn passes(&self, _: usize, _: usize) -> Vec<Pass> {
        Vec::new()
    }

    fn losses(&mut self, _: &Step<'_>) -> Result<Vec<Term>> {
        Err(Error::new(ErrorKind::Bug, "SSD takes no steps"))
    }
}
