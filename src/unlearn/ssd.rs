//! SSD, selective synaptic dampening: shrinks the weights that matter more for forget data than for all data (Foster et
//! al. 2024, arXiv 2308.07707). A one-shot edit, without training.
//!
//! ```text
//! D = Fisher diagonal over retain and forget        F = Fisher diagonal over forget
//! where F > alpha D:    theta *= min(lambda D / (F + 1e-12), 1)
//! ```
//!
//! The model is in evaluation mode and the data under evaluation transforms, not shuffled. The loss is plain cross
//! entropy, even if the base model was trained with label smoothing. Weights change, BatchNorm's running averages do
//! not. All sums are float64 for any dtype of the model. The sums over forget are part of those over all data, so they
//! are computed once. With `freeze_backbone` only the head is edited.
//!
//! D includes the forget samples, so F <= (n / n_forget) D in every weight: with alpha at or above that ratio no weight
//! can change. The shipped alpha of 10 is such a setting if at least a tenth of the training data is forgotten. As in
//! the Python program it runs all the same, but a warning comes first.

use serde::Deserialize;
use tch::{Tensor, no_grad};

use super::fisher::squared_gradient_sums;
use super::forget_samples::forget_samples;
use super::settings::{check_at_least_one, check_non_negative, method_settings};
use crate::config::schema::UnlearnConfig;
use crate::data::Part;
use crate::error::{Error, ErrorKind, Result};
use crate::train::{Method, Pass, Phase, Step, Term, TrainContext};

/// Keeps the quotient finite where F is 0.
const EPS: f64 = 1e-12;

/// SSD's own keys of the group `unlearn`.
#[derive(Debug, Clone, Copy, Deserialize)]
pub struct SsdSettings {
    /// A weight is dampened if F > alpha D.
    pub alpha: f64,
    /// A dampened weight is multiplied by lambda D / F, at most by 1.
    pub lambda: f64,
    /// Number of images whose single gradients are in memory at a time. The result does not depend on it.
    pub fim_microbatch_size: usize,
}

/// The Fisher information of the edit, and the number of dampened weights.
pub struct Dampening {
    /// For each parameter, in layout order: D and F, float64.
    pub fisher: Vec<(Tensor, Tensor)>,
    /// For each parameter, in layout order: the number of its elements with F > alpha D.
    pub dampened: Vec<i64>,
}

/// SSD as a training method, with the result of the edit once `prepare` has made it.
pub struct Ssd {
    settings: SsdSettings,
    dampening: Option<Dampening>,
}

pub fn build(config: &UnlearnConfig) -> Result<Box<dyn Method>> {
    let settings: SsdSettings = method_settings(config)?;
    check_non_negative(config, &[("alpha", settings.alpha), ("lambda", settings.lambda)])?;
    check_at_least_one(config, &[("fim_microbatch_size", settings.fim_microbatch_size)])?;
    Ok(Box::new(Ssd::new(settings)))
}

impl Ssd {
    pub fn new(settings: SsdSettings) -> Self {
        Ssd { settings, dampening: None }
    }

    /// The edit, made by `prepare`.
    pub fn dampening(&self) -> Option<&Dampening> {
        self.dampening.as_ref()
    }

    /// Dampens the elements of `weight` with F > alpha D. Returns their number.
    fn dampen(&self, weight: &Tensor, d: &Tensor, f: &Tensor) -> Result<i64> {
        let SsdSettings { alpha, lambda, .. } = self.settings;
        let selected = f.f_gt_tensor(&d.f_mul_scalar(alpha)?)?;
        let factor = d.f_mul_scalar(lambda)?.f_div(&f.f_add_scalar(EPS)?)?.f_clamp_max(1.0)?;
        let dampened = weight.f_mul(&factor)?.f_to_kind(weight.f_kind()?)?;
        weight.f_detach()?.f_copy_(&dampened.f_where_self(&selected, weight)?)?;
        Ok(selected.f_count_nonzero_dim_intlist([0i64; 0].as_slice()).and_then(|n| n.f_int64_value(&[]))?)
    }
}

impl Method for Ssd {
    fn prepare(&mut self, context: &mut TrainContext<'_>) -> Result<()> {
        let SsdSettings { alpha, fim_microbatch_size, .. } = self.settings;
        let forget = forget_samples(context.dataset, "ssd")?.len();
        let retain = context.dataset.indices(Part::Retain).len();
        let all = forget + retain;
        if alpha >= all as f64 / forget as f64 && context.world.is_root() {
            tracing::warn!(
                "unlearn.alpha={alpha} cannot change any weight: the Fisher information of the {forget} forget samples \
                 is at most {all} / {forget} = {:.3} times that of all {all} samples; set it below that",
                all as f64 / forget as f64
            );
        }
        let forget_sums = squared_gradient_sums(context, Part::Forget, fim_microbatch_size)?;
        let retain_sums = squared_gradient_sums(context, Part::Retain, fim_microbatch_size)?;

        let model = &*context.model;
        let (mut fisher, mut dampened) = (Vec::new(), Vec::new());
        no_grad(|| -> Result<()> {
            for ((slot, _, weight), (f, r)) in model.state.parameters().zip(forget_sums.iter().zip(&retain_sums)) {
                let d = f.f_add(r)?.f_div_scalar(all as f64)?;
                let f = f.f_div_scalar(forget as f64)?;
                let trainable = context.is_trainable(slot);
                dampened.push(if trainable { self.dampen(weight, &d, &f)? } else { 0 });
                fisher.push((d, f));
            }
            Ok(())
        })?;
        if context.world.is_root() {
            let weights = model.state.layout().num_parameters();
            tracing::info!("SSD dampened {} of {weights} weights", dampened.iter().sum::<i64>());
        }
        self.dampening = Some(Dampening { fisher, dampened });
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
