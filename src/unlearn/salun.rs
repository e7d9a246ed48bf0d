//! SalUn: relabel forget data at random, and let only the weights move that matter for it (Fan et al. 2024,
//! arXiv 2310.12508).
//!
//! ```text
//! g      = gradient of the mean CE(f0; x) over all forget images x   (evaluation mode and transforms)
//! mask   = |g| >= the (1 - keep ratio) quantile of |g|               (over all learning parameters together)
//! step:    minimise w_f CE(f(B_f), wrong labels) + w_r CE(f; B_r), with the gradient multiplied by the mask
//! ```
//!
//! with B_f and B_r augmented batches of forget and retain, drawn side by side: an epoch ends with the shorter of the
//! two. Every image gets another wrong label in every epoch, all K - 1 equally likely. Masked weights are put back
//! after each step, so that neither momentum nor weight decay moves them. BatchNorm's running averages are no weights:
//! they go on.

use serde::Deserialize;
use tch::{Kind, Tensor, no_grad};

use super::{only_phase, settings};
use crate::config::schema::UnlearnConfig;
use crate::data::{Batch, Part, Sampler};
use crate::error::{Error, ErrorKind, Result};
use crate::models::Slot;
use crate::optim::FlatParams;
use crate::random::RandomStream;
use crate::torch::upload;
use crate::train::loss::cross_entropy_sum;
use crate::train::{Drawn, Method, Pass, Phase, Step, Term, Trainer};

/// The quantile is exact up to so many weights, and that of a sample of them above (where `torch.quantile` gives up).
const MAX_EXACT: usize = 1 << 24;
/// Weights in the sample. The share that is kept then has a standard error of at most 0.025 percentage points.
const SAMPLE: usize = 1 << 22;

/// SalUn's own keys of the group `unlearn`.
#[derive(Debug, Clone, Copy, Deserialize)]
pub struct Settings {
    pub retain_weight: f64,
    pub forget_weight: f64,
    /// Share of the weights that may move.
    pub saliency_keep_ratio: f64,
}

/// Which weights may move.
pub struct Mask {
    /// The smallest absolute gradient that is kept.
    pub threshold: f64,
    /// For each learning parameter a bool tensor of its shape: true where it may move.
    pub kept: Vec<(Slot, Tensor)>,
}

/// What must stay as it is in one flat buffer of parameters.
struct Frozen {
    /// Bool, true where it must stay.
    places: Tensor,
    /// The whole buffer as it was before the first step.
    values: Tensor,
}

pub struct SalUn {
    settings: Settings,
    phase: Phase,
    mask: Option<Mask>,
    /// The mask as the parameters lie in memory, made at the first step.
    frozen: Vec<Frozen>,
}

pub fn build(config: &UnlearnConfig) -> Result<Box<dyn Method>> {
    let own: Settings = settings(config)?;
    for (key, weight) in [("retain_weight", own.retain_weight), ("forget_weight", own.forget_weight)] {
        if !(weight >= 0.0 && weight.is_finite()) {
            return Err(config.method.reject(key, "a number, at least 0"));
        }
    }
    if !(own.saliency_keep_ratio > 0.0 && own.saliency_keep_ratio <= 1.0) {
        return Err(config.method.reject("saliency_keep_ratio", "a number above 0, at most 1"));
    }
    Ok(Box::new(SalUn::new(own, only_phase(config))))
}

impl SalUn {
    pub fn new(settings: Settings, phase: Phase) -> Self {
        SalUn { settings, phase, mask: None, frozen: Vec::new() }
    }

    /// Made by `prepare`.
    pub fn mask(&self) -> Option<&Mask> {
        self.mask.as_ref()
    }

    /// The loss terms of a step whose forget images are to be taken for `labels`, int64 [n].
    pub fn losses_towards(&self, step: &Step<'_>, labels: &Tensor) -> Result<Vec<Term>> {
        let (forget, retain) = (step.batch(Part::Forget.name())?, step.batch(Part::Retain.name())?);
        let Settings { retain_weight, forget_weight, .. } = self.settings;
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

    fn freeze(&self, params: &FlatParams) -> Result<Vec<Frozen>> {
        let Some(values) = params.groups().first().map(|group| &group.values) else { return Ok(Vec::new()) };
        let places = params.layout().zeros((Kind::Bool, values.device()))?;
        for param in params.layout().params() {
            let mut kept = self.mask.iter().flat_map(|mask| &mask.kept).filter(|(slot, _)| *slot == param.slot);
            let (_, kept) = kept
                .next()
                .ok_or_else(|| Error::new(ErrorKind::Bug, format!("SalUn has no mask for {}", param.name)))?;
            param.view(&places[param.group])?.f_copy_(&kept.f_logical_not()?)?;
        }
        Ok(places
            .into_iter()
            .zip(params.groups())
            .map(|(places, group)| Frozen { places, values: group.values.copy() })
            .collect())
    }
}

/// Absolute gradient of the mean cross entropy over forget.
struct Saliency {
    /// Of all learning parameters, one after the other, [P].
    values: Tensor,
    /// Their slots and shapes, in the same order.
    params: Vec<(Slot, Vec<i64>)>,
}

/// The saliency at the model as it is; the same on all ranks.
fn saliency(trainer: &Trainer<'_>) -> Result<Saliency> {
    let Trainer { world, dataset, settings, .. } = trainer;
    let model = trainer.model.frozen_copy()?;
    let head = model.architecture().head();
    let (mut params, mut weights) = (Vec::new(), Vec::new());
    for (slot, entry, tensor) in model.state.parameters() {
        if !settings.freeze_backbone || head.contains(&slot) {
            params.push((slot, entry.shape.clone()));
            weights.push(tensor.f_set_requires_grad(true)?);
        }
    }
    let length: i64 = weights.iter().map(|weight| weight.numel() as i64).sum();
    let mut sum = Tensor::f_zeros([length], (weights[0].kind(), dataset.device()))?;

    let samples = dataset.indices(Part::Forget);
    for batch in samples[world.shard(samples.len())].chunks(dataset.eval_batch_size()) {
        let (images, labels) = dataset.load_batch(Part::Forget, batch, None)?;
        let loss = cross_entropy_sum(&model.eval(&images)?, &labels, 0.0);
        let gradients = Tensor::f_run_backward(&[loss], &weights, false, false)?;
        let gradients = gradients.iter().map(|gradient| gradient.f_flatten(0, -1)).collect::<Result<Vec<_>, _>>()?;
        let _ = sum.f_add_(&Tensor::f_cat(&gradients, 0)?)?;
        world.count_images(&format!("{}/saliency", settings.purpose), batch.len());
    }
    world.all_reduce(&mut sum)?;
    Ok(Saliency { values: (sum / samples.len().max(1) as f64).abs(), params })
}

/// The `q`-quantile of `values` [n], linearly interpolated between the two values next to it.
fn quantile(values: &Tensor, q: f64) -> Result<f64> {
    let place = q * (values.size()[0] - 1) as f64;
    // Sorted in full: the selection of one value has no deterministic algorithm on GPUs.
    let (sorted, _) = values.f_sort(0, false)?;
    let at = |index: f64| sorted.f_double_value(&[index as i64]);
    let (below, above) = (at(place.floor())?, at(place.ceil())?);
    Ok(below + (above - below) * place.fract())
}

/// `n` of `values`, drawn with replacement.
fn sample(values: &Tensor, n: usize, stream: RandomStream) -> Result<Tensor> {
    let (mut draws, population) = (stream.at(0, 0), values.numel() as u64);
    let drawn: Vec<i64> = (0..n).map(|_| draws.below(population) as i64).collect();
    Ok(values.f_index_select(0, &Tensor::f_from_slice(&drawn)?.f_to_device(values.device())?)?)
}

/// A class of 0..`num_classes` other than `label`, all equally likely.
fn wrong_label(stream: RandomStream, epoch: usize, sample: usize, label: i64, num_classes: usize) -> i64 {
    let drawn = stream.at(epoch as u64, sample as u64).below(num_classes as u64 - 1) as i64;
    // The draws count the classes without the true one.
    drawn + i64::from(drawn >= label)
}

/// Wrong labels for this rank's images, int64 [n]: functions of (seed, purpose, epoch, sample).
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
    fn prepare(&mut self, trainer: &mut Trainer<'_>) -> Result<()> {
        let Saliency { values, params } = saliency(trainer)?;
        if !values.f_sum(Kind::Double)?.f_double_value(&[])?.is_finite() {
            return Err(Error::new(
                ErrorKind::NonFinite,
                "unlearn=salun: the gradient of the loss on forget is not finite for the initial model",
            )
            .hint("check the base model: its loss on forget overflows"));
        }
        let stream = RandomStream::new(trainer.settings.seed, &format!("{}/saliency", trainer.settings.purpose));
        let sampled = if values.numel() > MAX_EXACT { Some(sample(&values, SAMPLE, stream)?) } else { None };
        let threshold = quantile(sampled.as_ref().unwrap_or(&values), 1.0 - self.settings.saliency_keep_ratio)?;
        let all_kept = values.f_ge(threshold)?;
        let (mut kept, mut start) = (Vec::with_capacity(params.len()), 0);
        for (slot, size) in params {
            let length = size.iter().product();
            kept.push((slot, all_kept.f_narrow(0, start, length)?.f_view(&size[..])?));
            start += length;
        }
        self.mask = Some(Mask { threshold, kept });
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
        self.losses_towards(step, step.drawn().only()?)
    }

    fn after_backward(&mut self, params: &mut FlatParams) -> Result<()> {
        if self.frozen.is_empty() {
            self.frozen = self.freeze(params)?;
        }
        for (group, frozen) in params.groups_mut().iter_mut().zip(&self.frozen) {
            let _ = no_grad(|| group.grads.f_masked_fill_(&frozen.places, 0.0))?;
        }
        Ok(())
    }

    fn after_step(&mut self, params: &mut FlatParams) -> Result<()> {
        for (group, frozen) in params.groups_mut().iter_mut().zip(&self.frozen) {
            no_grad(|| group.values.f_copy_(&frozen.values.f_where_self(&frozen.places, &group.values)?))?;
        }
        Ok(())
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
