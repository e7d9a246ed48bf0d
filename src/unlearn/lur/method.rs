//! LUR: unlearns at the weights that the next retain step would lead to (Patel and Qiu 2025, arXiv 2503.06339).
//!
//! First the weights that matter most for forget are re-initialised ([`snip`]). Then each step minimises
//!
//! ```text
//! w_r CE(f(B_r; theta)) - w_f CE(f(B_f; theta')),      theta' = theta - alpha grad CE(f(B_r; theta))
//! ```
//!
//! *through* theta', with B_f and B_r augmented batches of forget and retain. Each step takes one of both, and an epoch
//! ends with the shorter of the two. With g the gradient of the retain loss at theta, H its Hessian, and v the gradient
//! of the forget loss at theta', the gradient is
//!
//! ```text
//! w_r g - w_f (v - alpha H v)
//! ```
//!
//! Both forward passes are in train mode, so the running statistics move twice. All trainable parameters look ahead,
//! norms and biases included. With accumulated micro-steps each micro-step looks ahead by its own gradient.
//!
//! **Across ranks** g and v are all-reduced before theta' and H v are computed from them. A rank contributes its own
//! part of g, v and H v to the gradient, the last as the gradient of (its part of g) times (the whole v). If BatchNorm
//! takes the statistics of all ranks, the graph of g holds an all-reduce, and its derivative holds another one.

use serde::Deserialize;
use tch::{Kind, Tensor, no_grad};

use super::snip::{self, PruningSettings};
use crate::config::schema::UnlearnConfig;
use crate::data::{Batch, DataLoader, Part, Sampler, View};
use crate::distributed::World;
use crate::error::{Error, ErrorKind, Result};
use crate::torch;
use crate::train::loss::cross_entropy_sum;
use crate::train::{Method, Pass, Phase, Step, Term, TrainContext};
use crate::unlearn::concatenation::{concatenate, views_of};
use crate::unlearn::settings::{check_at_least_one, check_non_negative, method_settings, single_phase};

/// LUR's own keys of the group `unlearn`.
#[derive(Debug, Clone, Deserialize)]
pub struct LurSettings {
    /// Length of the look-ahead step.
    pub alpha: f64,
    pub retain_weight: f64,
    pub forget_weight: f64,
    pub pruning: PruningSettings,
}

/// LUR as a training method.
pub struct Lur {
    settings: LurSettings,
    phase: Phase,
}

pub fn build(config: &UnlearnConfig) -> Result<Box<dyn Method>> {
    let settings: LurSettings = method_settings(config)?;
    check_non_negative(
        config,
        &[
            ("alpha", settings.alpha),
            ("retain_weight", settings.retain_weight),
            ("forget_weight", settings.forget_weight),
        ],
    )?;
    let pruning = &settings.pruning;
    if pruning.sparsity.is_some_and(|sparsity| !(0.0..=1.0).contains(&sparsity)) {
        return Err(config.method.reject("pruning.sparsity", "a number from 0 to 1"));
    }
    if pruning.enabled {
        check_at_least_one(config, &[("pruning.prune_num", pruning.prune_num)])?;
    }
    if pruning.enabled && !pruning.auto && pruning.sparsity.is_none() {
        return Err(config.method.reject("pruning.sparsity", "a number, since unlearn.pruning.auto is false"));
    }
    Ok(Box::new(Lur::new(settings, single_phase(config))))
}

impl Lur {
    pub fn new(settings: LurSettings, phase: Phase) -> Self {
        Lur { settings, phase }
    }
}

impl Method for Lur {
    fn prepare(&mut self, context: &mut TrainContext<'_>) -> Result<()> {
        let pruning = &self.settings.pruning;
        if !pruning.enabled {
            return Ok(());
        }
        let plan = pruning.plan(context.settings.names.as_ref())?;
        let train = context.settings;
        let purpose = format!("{}/snip", train.purpose);
        let sampler = Sampler::cycle(Part::Forget, View::Train);
        let mut loader = DataLoader::new(sampler, context.dataset, train.batch_size, train.seed, &purpose)?;
        let Some(selection) = snip::select(context, pruning, &plan, &mut loader)? else {
            if context.world.is_root() {
                tracing::info!("{}", nothing_pruned(plan.patterns.as_deref().unwrap_or_default()));
            }
            return Ok(());
        };
        snip::reinitialise(&context.model.state, &selection, train.seed, &purpose)?;
        if context.world.is_root() {
            let mut reset = 0;
            for (_, chosen) in &selection.reset {
                reset += chosen.f_sum(Kind::Int64)?.f_int64_value(&[])?;
            }
            let eligible: usize = selection.reset.iter().map(|(_, chosen)| chosen.numel()).sum();
            tracing::info!("LUR re-initialised {reset} of {eligible} weights (sparsity {})", plan.sparsity);
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
        let LurSettings { alpha, retain_weight, forget_weight, .. } = self.settings;
        let state = &step.model.state;
        let trainable: Vec<_> = state.parameters().filter(|(.., tensor)| tensor.requires_grad()).collect();
        let theta: Vec<&Tensor> = trainable.iter().map(|(.., tensor)| *tensor).collect();

        let retain_logits = step.train_twice_differentiable(retain)?;
        let retain_ce = cross_entropy_sum(&retain_logits, &retain.labels, 0.0);
        let retain_mean = &retain_ce / retain.global.len() as f64;
        let local_g = step.gradients_of(&retain_mean, &theta, true)?;
        let g = all_reduced(step.world, &local_g)?;

        let mut weights_ahead: Vec<Tensor> = state.tensors().iter().map(Tensor::detach).collect();
        let mut theta_ahead = Vec::with_capacity(theta.len());
        for ((slot, ..), g) in trainable.iter().zip(&g) {
            // A gradient that is not finite (float16's first steps) must not reach the running averages. The sums below
            // keep it, and so the step is skipped.
            let g = g.f_nan_to_num(0.0, 0.0, 0.0)?;
            let leaf = weights_ahead[slot.index()].f_sub(&(g * alpha))?.f_set_requires_grad(true)?;
            weights_ahead[slot.index()] = leaf.shallow_clone();
            theta_ahead.push(leaf);
        }
        let forget_logits = step.train_with_weights(&weights_ahead, forget)?;
        let forget_ce = cross_entropy_sum(&forget_logits, &forget.labels, 0.0);
        let forget_mean = &forget_ce / forget.global.len() as f64;
        let local_v = step.gradients_of(&forget_mean, &theta_ahead.iter().collect::<Vec<_>>(), false)?;
        let v = all_reduced(step.world, &local_v)?;

        let g_dot_v = local_g.iter().zip(&v).map(|(g, v)| (g * v).sum(None::<Kind>)).reduce(|a, b| a + b);
        let g_dot_v = g_dot_v.ok_or_else(|| Error::new(ErrorKind::Bug, "LUR has no parameters to train"))?;
        let local_hv = step.gradients_of(&g_dot_v, &theta, false)?;

        // The weight of a micro-step's mean in the step is its fraction of the step's samples.
        let fraction = |batch: &Batch| batch.global.len() as f64 / batch.step_count as f64;
        let (retain_factor, forget_factor) = (retain_weight * fraction(retain), forget_weight * fraction(forget));
        no_grad(|| -> Result<()> {
            for (((theta, g), v), hv) in theta.iter().zip(&local_g).zip(&local_v).zip(&local_hv) {
                let total = g * retain_factor - v * forget_factor + hv * (forget_factor * alpha);
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

/// The message for a network in which no layer has the automatic patterns in its name.
fn nothing_pruned(patterns: &[String]) -> String {
    format!(
        "LUR prunes nothing: no layer of this network has {} in its name, which are names of a ResNet; \
         unlearn.pruning.layer_patterns=[head], say, chooses layers",
        patterns.join(" or ")
    )
}

/// The sums of `tensors` over all ranks, in one collective call. New tensors without a graph.
fn all_reduced(world: &World, tensors: &[Tensor]) -> Result<Vec<Tensor>> {
    let mut joined = concatenate(tensors)?;
    world.all_reduce(&mut joined)?;
    let shapes: Vec<Vec<i64>> = tensors.iter().map(Tensor::size).collect();
    views_of(&joined, shapes.iter().map(Vec::as_slice))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_about_no_pruning_reads_as_text() {
        assert_eq!(
            nothing_pruned(&["layer4".into(), "fc".into()]),
            "LUR prunes nothing: no layer of this network has layer4 or fc in its name, which are names of a ResNet; \
             unlearn.pruning.layer_patterns=[head], say, chooses layers"
        );
    }
}
