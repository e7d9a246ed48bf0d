//! SalUn: relabels forget data at random, and trains only the weights that matter for it (Fan et al. 2024,
//! arXiv 2310.12508).
//!
//! ```text
//! g      = gradient of the mean CE(f0; x) over all forget images x   (evaluation mode and transforms)
//! mask   = |g| >= the (1 - keep ratio) quantile of |g|               (over all trainable parameters together)
//! step:    minimise w_f CE(f(B_f), wrong labels) + w_r CE(f; B_r), with the gradient multiplied by the mask
//! ```
//!
//! with B_f and B_r augmented batches of forget and retain. Each step takes one of both, and an epoch ends with the
//! shorter of the two. Every image gets a new wrong label in every epoch, all K - 1 equally likely.
//! `SalUn::mask_gradients` applies the mask to the gradient of each step. `SalUn::restore_masked_weights` resets
//! masked weights after the step, so that neither momentum nor weight decay changes them. BatchNorm's running averages
//! are not masked.

use serde::Deserialize;
use tch::{Kind, Tensor, no_grad};

use super::concatenation::{concatenate, views_of};
use super::saliency::check_finite;
use super::settings::{check_non_negative, method_settings, single_phase};
use crate::config::schema::UnlearnConfig;
use crate::data::{Batch, Part, Sampler};
use crate::error::{Error, ErrorKind, Result};
use crate::models::Slot;
use crate::optim::FlatParams;
use crate::random::RandomStream;
use crate::torch::upload;
use crate::train::loss::cross_entropy_sum;
use crate::train::{Drawn, Method, Pass, Phase, Step, Term, TrainContext};

/// Largest number of weights with an exact quantile. Above it the quantile is that of a sample (`torch.quantile`
/// refuses so many values).
const MAX_EXACT: usize = 1 << 24;
/// Weights in the sample. The fraction of kept weights then has a standard error of at most 0.025 percentage points.
const SAMPLE: usize = 1 << 22;

/// SalUn's own keys of the group `unlearn`.
#[derive(Debug, Clone, Copy, Deserialize)]
pub struct SalUnSettings {
    pub retain_weight: f64,
    pub forget_weight: f64,
    /// Fraction of the weights that training may change.
    pub saliency_keep_ratio: f64,
}

/// The weights that training may change.
pub struct SaliencyMask {
    /// The smallest absolute gradient that is kept.
    pub threshold: f64,
    /// For each trainable parameter a bool tensor of its shape, true for the elements that training may change.
    pub kept: Vec<(Slot, Tensor)>,
}

/// The masked weights in one flat buffer of parameters.
struct MaskedBuffer {
    /// Bool, true for the elements that training must not change.
    masked: Tensor,
    /// The whole buffer before the first step.
    values: Tensor,
}

/// SalUn as a training method, with the mask once `prepare` has made it.
pub struct SalUn {
    settings: SalUnSettings,
    phase: Phase,
    mask: Option<SaliencyMask>,
    /// The mask in the memory layout of the parameters, made at the first step.
    buffers: Vec<MaskedBuffer>,
}

pub fn build(config: &UnlearnConfig) -> Result<Box<dyn Method>> {
    let settings: SalUnSettings = method_settings(config)?;
    check_non_negative(
        config,
        &[("retain_weight", settings.retain_weight), ("forget_weight", settings.forget_weight)],
    )?;
    if !(settings.saliency_keep_ratio > 0.0 && settings.saliency_keep_ratio <= 1.0) {
        return Err(config.method.reject("saliency_keep_ratio", "a number above 0, at most 1"));
    }
    Ok(Box::new(SalUn::new(settings, single_phase(config))))
}

impl SalUn {
    pub fn new(settings: SalUnSettings, phase: Phase) -> Self {
        SalUn { settings, phase, mask: None, buffers: Vec::new() }
    }

    /// The mask, made by `prepare`.
    pub fn mask(&self) -> Option<&SaliencyMask> {
        self.mask.as_ref()
    }

    /// The loss terms of a step that trains the forget images towards `labels`, int64 [n].
    pub fn losses_with_labels(&self, step: &Step<'_>, labels: &Tensor) -> Result<Vec<Term>> {
        let (forget, retain) = (step.batch(Part::Forget.name())?, step.batch(Part::Retain.name())?);
        let SalUnSettings { retain_weight, forget_weight, .. } = self.settings;
        // The order of the forward passes is part of the method: each moves the running statistics of BatchNorm.
        let forget_logits = step.train(forget)?;
        let retain_logits = step.train(retain)?;
        let forget_ce = cross_entropy_sum(&forget_logits, labels, 0.0);
        let retain_ce = cross_entropy_sum(&retain_logits, &retain.labels, 0.0);
        Ok(vec![
            Term::over(forget, "forget_wrong_ce", forget_weight, forget_ce).with_accuracy(&forget_logits, forget),
            Term::over(retain, "retain_ce", retain_weight, retain_ce).with_accuracy(&retain_logits, retain),
        ])
    }

    /// Multiplies the gradient by the mask.
    fn mask_gradients(&self, params: &mut FlatParams) -> Result<()> {
        for (group, buffer) in params.groups_mut().iter_mut().zip(&self.buffers) {
            let _ = no_grad(|| group.grads.f_masked_fill_(&buffer.masked, 0.0))?;
        }
        Ok(())
    }

    /// Resets masked weights to their values before the first step.
    fn restore_masked_weights(&self, params: &mut FlatParams) -> Result<()> {
        for (group, buffer) in params.groups_mut().iter_mut().zip(&self.buffers) {
            no_grad(|| group.values.f_copy_(&buffer.values.f_where_self(&buffer.masked, &group.values)?))?;
        }
        Ok(())
    }

    /// The mask and the current weights in the memory layout of `params`.
    fn masked_buffers(&self, params: &FlatParams) -> Result<Vec<MaskedBuffer>> {
        let (_, device) = params.options()?;
        let masked = params.layout().zeros((Kind::Bool, device))?;
        for param in params.layout().params() {
            let mut kept = self.mask.iter().flat_map(|mask| &mask.kept).filter(|(slot, _)| *slot == param.slot);
            let (_, kept) = kept
                .next()
                .ok_or_else(|| Error::new(ErrorKind::Bug, format!("SalUn has no mask for {}", param.name)))?;
            param.view(&masked[param.group])?.f_copy_(&kept.f_logical_not()?)?;
        }
        let buffers = masked.into_iter().zip(params.groups());
        Ok(buffers.map(|(masked, group)| MaskedBuffer { masked, values: group.values.copy() }).collect())
    }
}

/// The saliency of all trainable parameters.
struct Saliency {
    /// Absolute gradients of the mean cross entropy over forget, one parameter after the other, [P].
    values: Tensor,
    /// Slots and shapes of the parameters, in the same order.
    params: Vec<(Slot, Vec<i64>)>,
}

/// The saliency of the current model, the same on all ranks. A collective call.
fn saliency(context: &TrainContext<'_>) -> Result<Saliency> {
    let TrainContext { world, dataset, settings, .. } = context;
    let model = context.model.frozen_copy()?;
    let (mut params, mut weights) = (Vec::new(), Vec::new());
    for (slot, entry, tensor) in model.state.parameters() {
        if context.is_trainable(slot) {
            params.push((slot, entry.shape.clone()));
            weights.push(tensor.f_set_requires_grad(true)?);
        }
    }
    let length: i64 = weights.iter().map(|weight| weight.numel() as i64).sum();
    let mut sum = Tensor::f_zeros([length], (weights[0].kind(), dataset.device()))?;

    let samples = dataset.indices(Part::Forget);
    for batch in samples[world.shard(samples.len())].chunks(dataset.eval_batch_size()) {
        let (images, labels) = dataset.make_batch(Part::Forget, batch, None)?;
        let loss = cross_entropy_sum(&model.eval(&images)?, &labels, 0.0);
        let gradients = Tensor::f_run_backward(&[loss], &weights, false, false)?;
        let _ = sum.f_add_(&concatenate(&gradients)?)?;
        world.count_images(&format!("{}/saliency", settings.purpose), batch.len());
    }
    world.all_reduce(&mut sum)?;
    Ok(Saliency { values: (sum / samples.len().max(1) as f64).abs(), params })
}

/// The `q`-quantile of `values` [n], interpolated linearly between its two neighbours.
fn quantile(values: &Tensor, q: f64) -> Result<f64> {
    let position = q * (values.size()[0] - 1) as f64;
    // A full sort: selecting a single value has no deterministic algorithm on GPUs.
    let (sorted, _) = values.f_sort(0, false)?;
    let at = |index: f64| sorted.f_double_value(&[index as i64]);
    let (below, above) = (at(position.floor())?, at(position.ceil())?);
    Ok(below + (above - below) * position.fract())
}

/// `n` elements of `values`, drawn with replacement.
fn sample(values: &Tensor, n: usize, stream: RandomStream) -> Result<Tensor> {
    let (mut draws, population) = (stream.at(0, 0), values.numel() as u64);
    let drawn: Vec<i64> = (0..n).map(|_| draws.below(population) as i64).collect();
    Ok(values.f_index_select(0, &Tensor::f_from_slice(&drawn)?.f_to_device(values.device())?)?)
}

/// A class of 0..`num_classes` other than `label`, all equally likely.
fn wrong_label(stream: RandomStream, epoch: usize, sample: usize, label: i64, num_classes: usize) -> i64 {
    let drawn = stream.at(epoch as u64, sample as u64).below(num_classes as u64 - 1) as i64;
    // `drawn` counts the classes without the true one.
    drawn + i64::from(drawn >= label)
}

/// Wrong labels of this rank's images, int64 [n]. A label is a function of (seed, purpose, epoch, sample).
fn wrong_labels(step: &Step<'_>, batch: &Batch) -> Result<Tensor> {
    let (dataset, part) = (step.dataset, step.dataset.indices(Part::Forget));
    let stream = RandomStream::new(step.seed, &format!("{}/forget/wrong_label", step.purpose));
    let wrong = |&position: &usize| {
        let sample = part[position];
        wrong_label(stream, step.epoch, sample, dataset.label(Part::Forget, sample), dataset.num_classes())
    };
    let labels: Vec<i64> = batch.local().iter().map(wrong).collect();
    upload(&Tensor::f_from_slice(&labels)?, dataset.device())
}

impl Method for SalUn {
    fn prepare(&mut self, context: &mut TrainContext<'_>) -> Result<()> {
        let Saliency { values, params } = saliency(context)?;
        check_finite(&values, "salun")?;
        let stream = RandomStream::new(context.settings.seed, &format!("{}/saliency", context.settings.purpose));
        let sampled = if values.numel() > MAX_EXACT { Some(sample(&values, SAMPLE, stream)?) } else { None };
        let threshold = quantile(sampled.as_ref().unwrap_or(&values), 1.0 - self.settings.saliency_keep_ratio)?;
        let all_kept = values.f_ge(threshold)?;
        let kept = views_of(&all_kept, params.iter().map(|(_, shape)| shape.as_slice()))?;
        let kept = params.iter().map(|(slot, _)| *slot).zip(kept).collect();
        self.mask = Some(SaliencyMask { threshold, kept });
        Ok(())
    }

    fn phases(&self) -> Vec<Phase> {
        vec![self.phase.clone()]
    }

    fn passes(&self, _: usize, _: usize) -> Vec<Pass> {
        vec![Pass::new("train", [Sampler::train(Part::Forget), Sampler::train(Part::Retain)])]
    }

    fn draw(&mut self, step: &Step<'_>) -> Result<Drawn> {
        let forget = step.batch(Part::Forget.name())?;
        Ok(Drawn { tensors: vec![wrong_labels(step, forget)?], samples: forget.global.len(), ..Drawn::default() })
    }

    fn graph_key(&self, _: usize, _: usize) -> Option<u64> {
        Some(0)
    }

    fn losses(&mut self, step: &Step<'_>) -> Result<Vec<Term>> {
        self.losses_with_labels(step, step.drawn().tensor()?)
    }

    fn after_backward(&mut self, params: &mut FlatParams) -> Result<()> {
        if self.buffers.is_empty() {
            self.buffers = self.masked_buffers(params)?;
        }
        self.mask_gradients(params)
    }

    fn after_step(&mut self, params: &mut FlatParams) -> Result<()> {
        self.restore_masked_weights(params)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrong_labels_are_wrong_uniform_and_redrawn_each_epoch() {
        let stream = RandomStream::new(3, "test");
        let mut counts = [[0u32; 4]; 2];
        let mut repeated = 0;
        for sample in 0..6000 {
            let [first, second] = [0, 1].map(|epoch| wrong_label(stream, epoch, sample, 2, 4));
            counts[0][first as usize] += 1;
            counts[1][second as usize] += 1;
            repeated += u32::from(first == second);
            assert_eq!(first, wrong_label(stream, 0, sample, 2, 4));
        }
        for [zero, one, two, three] in counts {
            assert_eq!(two, 0);
            // 2000 expected, five standard deviations of 36.5 allowed.
            assert!([zero, one, three].iter().all(|count| (1818..=2182).contains(count)), "{counts:?}");
        }
        assert!((1818..=2182).contains(&repeated), "{repeated} of 6000 labels kept, a third expected");
    }

    #[test]
    fn quantiles_are_interpolated() {
        let values = Tensor::from_slice(&[4.0, 1.0, 3.0, 10.0]);
        for (q, wanted) in [(0.0, 1.0), (0.5, 3.5), (0.9, 8.2), (1.0, 10.0)] {
            let got = quantile(&values, q).unwrap();
            assert!((got - wanted).abs() < 1e-12, "{q}: {got}, wanted {wanted}");
        }
    }

    #[test]
    fn a_sample_has_nearly_the_quantiles_of_all() {
        let values = Tensor::arange(100_000, (Kind::Double, tch::Device::Cpu)) / 100_000.0;
        let sampled = sample(&values, 10_000, RandomStream::new(3, "test")).unwrap();
        assert_eq!(sampled.size(), [10_000]);
        for q in [0.1, 0.5, 0.9] {
            // Five standard errors, sqrt(q (1 - q) / 10,000) each.
            assert!((quantile(&sampled, q).unwrap() - q).abs() < 0.025, "{q}");
        }
    }
}
