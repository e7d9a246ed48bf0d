//! LUR: unlearn at the weights that the next retain step would lead to (Patel and Qiu 2025, arXiv 2503.06339).
//!
//! First the weights that matter most for forget are drawn anew ([`snip`]). Then each step minimises
//!
//! ```text
//! w_r CE(f(B_r; theta)) - w_f CE(f(B_f; theta')),      theta' = theta - alpha grad CE(f(B_r; theta))
//! ```
//!
//! *through* theta', with B_f and B_r augmented batches of forget and retain, drawn side by side: an epoch ends with
//! the shorter of the two. With g the gradient of the retain loss at theta, H its Hessian, and v the gradient of the
//! forget loss at theta', the gradient is
//!
//! ```text
//! w_r g - w_f (v - alpha H v)
//! ```
//!
//! Both forward passes are in train mode, so the running statistics move twice. All parameters that learn look ahead,
//! those of norms and biases too. With accumulated micro-steps each looks ahead by its own gradient.
//!
//! **Across ranks** g and v are summed before they are used, as theta' and as the factor of H; what a rank contributes
//! is its own part of g, v and H v, the latter as the gradient of (its part of g) times (the whole v). Where BatchNorm
//! takes the statistics of all ranks, the graph of that part holds the all-reduce, and its derivative another one.

pub mod snip;

use serde::Deserialize;
use tch::{Kind, Tensor, no_grad};

use super::{only_phase, settings};
use crate::config::schema::UnlearnConfig;
use crate::data::{DataLoader, Part, Sampler, View};
use crate::distributed::World;
use crate::error::{Error, ErrorKind, Result};
use crate::torch;
use crate::train::loss::cross_entropy_sum;
use crate::train::{Method, Pass, Phase, Step, Term, Trainer};

/// LUR's own keys of the group `unlearn`.
#[derive(Debug, Clone, Deserialize)]
pub struct Settings {
    /// Length of the step that is looked ahead.
    pub alpha: f64,
    pub retain_weight: f64,
    pub forget_weight: f64,
    pub pruning: snip::Settings,
}

pub struct Lur {
    settings: Settings,
    phase: Phase,
}

pub fn build(config: &UnlearnConfig) -> Result<Box<dyn Method>> {
    let own: Settings = settings(config)?;
    for (key, value) in
        [("alpha", own.alpha), ("retain_weight", own.retain_weight), ("forget_weight", own.forget_weight)]
    {
        if !(value >= 0.0 && value.is_finite()) {
            return Err(config.method.reject(key, "a number, at least 0"));
        }
    }
    let pruning = &own.pruning;
    if pruning.sparsity.is_some_and(|sparsity| !(0.0..=1.0).contains(&sparsity)) {
        return Err(config.method.reject("pruning.sparsity", "a number from 0 to 1"));
    }
    if pruning.enabled && pruning.prune_num == 0 {
        return Err(config.method.reject("pruning.prune_num", "an integer, at least 1"));
    }
    if pruning.enabled && !pruning.auto && pruning.sparsity.is_none() {
        return Err(config.method.reject("pruning.sparsity", "a number, since unlearn.pruning.auto is false"));
    }
    Ok(Box::new(Lur::new(own, only_phase(config))))
}

impl Lur {
    pub fn new(settings: Settings, phase: Phase) -> Self {
        Lur { settings, phase }
    }
}

impl Method for Lur {
    fn prepare(&mut self, trainer: &mut Trainer<'_>) -> Result<()> {
        let pruning = &self.settings.pruning;
        if !pruning.enabled {
            return Ok(());
        }
        let plan = pruning.plan(trainer.settings.names.as_ref())?;
        let train = &trainer.settings;
        let purpose = format!("{}/snip", train.purpose);
        let sampler = Sampler::cycle(Part::Forget, View::Train);
        let mut loader = DataLoader::new(sampler, trainer.dataset, train.batch_size, train.seed, &purpose)?;
        let selection = snip::select(trainer, pruning, &plan, &mut loader)?;
        snip::redraw(&trainer.model.state, &selection, train.seed, &purpose)?;
        if trainer.world.is_root() {
            let mut reset = 0;
            for (_, chosen) in &selection.reset {
                reset += chosen.f_sum(Kind::Int64)?.f_int64_value(&[])?;
            }
            let eligible: usize = selection.reset.iter().map(|(_, chosen)| chosen.numel()).sum();
            tracing::info!("LUR drew {reset} of {eligible} weights anew (sparsity {})", plan.sparsity);
        }
        Ok(())
    }

    fn phases(&self) -> Vec<Phase> {
        vec![self.phase.clone()]
    }

    fn passes(&self, _: usize, _: usize) -> Vec<Pass> {
        vec![Pass::new("train", [Sampler::train(Part::Forget), Sampler::train(Part::Retain)])]
    }

    fn graph_key(&self, _: usize, _: usize) -> Option<u64> {
        Some(0)
    }

    fn losses(&mut self, _: &Step<'_>) -> Result<Vec<Term>> {
        Err(Error::new(ErrorKind::Bug, "LUR's gradient is not that of one local loss"))
    }

    fn gradients(&mut self, step: &Step<'_>) -> Result<Vec<Term>> {
        let (forget, retain) = (step.batch(Part::Forget.name())?, step.batch(Part::Retain.name())?);
        let Settings { alpha, retain_weight, forget_weight, .. } = self.settings;
        let state = &step.model.state;
        let learning: Vec<_> = state.parameters().filter(|(.., tensor)| tensor.requires_grad()).collect();
        let theta: Vec<&Tensor> = learning.iter().map(|(.., tensor)| *tensor).collect();

        let retain_logits = step.train_twice_differentiable(retain)?;
        let retain_ce = cross_entropy_sum(&retain_logits, &retain.labels, 0.0);
        let retain_mean = &retain_ce / retain.global.len() as f64;
        let own_g = step.gradients_of(&retain_mean, &theta, true)?;
        let g = summed(step.world, &own_g)?;

        let mut ahead: Vec<Tensor> = state.tensors().iter().map(Tensor::detach).collect();
        let mut theta_ahead = Vec::with_capacity(theta.len());
        for ((slot, ..), g) in learning.iter().zip(&g) {
            // Of a gradient that is not finite (float16's first steps) nothing may reach the running averages; what is
            // added up below keeps it, and so the step is left out.
            let g = g.f_nan_to_num(0.0, 0.0, 0.0)?;
            let leaf = ahead[slot.index()].f_sub(&(g * alpha))?.f_set_requires_grad(true)?;
            ahead[slot.index()] = leaf.shallow_clone();
            theta_ahead.push(leaf);
        }
        let forget_logits = step.train_with(&ahead, forget)?;
        let forget_ce = cross_entropy_sum(&forget_logits, &forget.labels, 0.0);
        let forget_mean = &forget_ce / forget.global.len() as f64;
        let own_v = step.gradients_of(&forget_mean, &theta_ahead.iter().collect::<Vec<_>>(), false)?;
        let v = summed(step.world, &own_v)?;

        let along = own_g.iter().zip(&v).map(|(g, v)| (g * v).sum(None::<Kind>)).reduce(|a, b| a + b);
        let along = along.ok_or_else(|| Error::new(ErrorKind::Bug, "LUR has no parameters to train"))?;
        let own_hv = step.gradients_of(&along, &theta, false)?;

        // Means of the micro-step become shares of the step.
        let share = |batch: &crate::data::Batch| batch.global.len() as f64 / batch.step_count as f64;
        let (of_retain, of_forget) = (retain_weight * share(retain), forget_weight * share(forget));
        no_grad(|| -> Result<()> {
            for (((theta, g), v), hv) in theta.iter().zip(&own_g).zip(&own_v).zip(&own_hv) {
                let total = g * of_retain - v * of_forget + hv * (of_forget * alpha);
                torch::set_grad(theta, &step.scaled(&total)?)?;
            }
            Ok(())
        })?;
        Ok(vec![
            Term::over(forget, "forget_ce_ahead", -forget_weight, forget_ce).with_accuracy(&forget_logits, forget),
            Term::over(retain, "retain_ce", retain_weight, retain_ce).with_accuracy(&retain_logits, retain),
        ])
    }
}

/// The sums of `tensors` over all ranks, in one collective call; new tensors without a graph.
fn summed(world: &World, tensors: &[Tensor]) -> Result<Vec<Tensor>> {
    let flat = tensors.iter().map(|t| Ok(t.f_detach()?.f_reshape([-1])?)).collect::<Result<Vec<_>>>()?;
    let mut joined = Tensor::f_cat(&flat, 0)?;
    world.all_reduce(&mut joined)?;
    let mut start = 0;
    let part = |tensor: &Tensor| {
        let length = tensor.numel() as i64;
        start += length;
        Ok(joined.f_narrow(0, start - length, length)?.f_view(tensor.size().as_slice())?)
    };
    tensors.iter().map(part).collect()
}
