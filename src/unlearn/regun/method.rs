//! ReGUn, Reference-Guided Unlearning (Mirlach, Vogt, Laguna 2026, arXiv 2603.11210).
//!
//! A model that never saw an image treats it like any other unseen image. So each step pulls the predictions on a
//! forget batch towards the predictions of a reference network on held-out images, which took part in no training:
//!
//! ```text
//! q    = mean of softmax(g(x) / T) over held-out images x       (mean_probs)
//!        softmax(mean of g(x) / T)                              (mean_logits)
//! loss = w_f KL(q to softmax(f(B_f) / T)) + w_r CE(f(B_r))
//! ```
//!
//! with f the model in training, g the frozen base copy in evaluation mode (or f itself in train mode, without
//! gradient, with `fixed_reference=false`), B_f a forget batch and B_r the next batch of an endless cycle over retain.
//! One pass over forget is an epoch. A [`Selector`] chooses the held-out images.

use serde::Deserialize;
use tch::{Kind, Tensor, no_grad};

use super::selector::{Selector, SelectorChoice};
use crate::config::schema::UnlearnConfig;
use crate::data::{Part, Sampler, View};
use crate::error::Result;
use crate::inference;
use crate::torch::upload;
use crate::train::loss::{cross_entropy_sum, kl_sum};
use crate::train::{Drawn, Method, Pass, Phase, Step, Term, TrainContext};
use crate::unlearn::settings::{check_non_negative, check_positive, method_settings, single_phase};

#[derive(Debug, Clone, Deserialize)]
struct ReGUnKeys {
    regun: ReGUnSettings,
}

/// Settings of ReGUn, `unlearn.regun` of the configuration.
#[derive(Debug, Clone, Deserialize)]
pub struct ReGUnSettings {
    pub selector: SelectorChoice,
    pub aggregation: Aggregation,
    /// True: the reference is the frozen base copy. False: it is the model in training.
    pub fixed_reference: bool,
    pub temperature: f64,
    pub retain_weight: f64,
    pub forget_weight: f64,
}

/// The mean over held-out images, of probabilities or of logits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Aggregation {
    MeanProbs,
    MeanLogits,
}

/// ReGUn as a training method, with the reference once `prepare` has computed it.
pub struct ReGUn {
    settings: ReGUnSettings,
    phase: Phase,
    selector: Box<dyn Selector>,
    /// Logits of every held-out image under the frozen reference, [H, K]. None if the reference is the model in
    /// training.
    reference: Option<Tensor>,
}

pub fn build(config: &UnlearnConfig) -> Result<Box<dyn Method>> {
    let ReGUnKeys { regun } = method_settings(config)?;
    check_positive(config, &[("regun.temperature", regun.temperature)])?;
    check_non_negative(
        config,
        &[("regun.retain_weight", regun.retain_weight), ("regun.forget_weight", regun.forget_weight)],
    )?;
    let selector = regun.selector.build();
    Ok(Box::new(ReGUn::new(regun, single_phase(config), selector)))
}

impl ReGUn {
    pub fn new(settings: ReGUnSettings, phase: Phase, selector: Box<dyn Selector>) -> Self {
        ReGUn { settings, phase, selector, reference: None }
    }

    /// The target distribution q, [K], of the drawn held-out images. A collective call, with the same result on all
    /// ranks.
    fn target(&self, step: &Step<'_>) -> Result<Tensor> {
        let drawn = step.drawn();
        let logits = match &self.reference {
            Some(_) => drawn.tensor()?.shallow_clone(),
            None => step.train_heldout(drawn.tensor()?, &drawn.indices)?,
        };
        let temperature = self.settings.temperature;
        let summed = match self.settings.aggregation {
            Aggregation::MeanProbs => (logits / temperature).softmax(-1, None::<Kind>),
            Aggregation::MeanLogits => logits,
        };
        let mut sum = summed.sum_dim_intlist(0, false, None::<Kind>);
        step.world.all_reduce(&mut sum)?;
        let mean = sum / drawn.samples as f64;
        Ok(match self.settings.aggregation {
            Aggregation::MeanProbs => mean,
            Aggregation::MeanLogits => (mean / temperature).softmax(-1, None::<Kind>),
        })
    }
}

impl Method for ReGUn {
    fn prepare(&mut self, context: &mut TrainContext<'_>) -> Result<()> {
        self.selector.prepare(context)?;
        if self.settings.fixed_reference {
            let forward = context.model.fused()?;
            // The precision is that of the Python program, which computes these logits in the step for the uniform
            // selector, and beforehand in float32 for the others.
            let in_step = self.settings.selector == SelectorChoice::Uniform;
            let logits = |images: &Tensor| if in_step { context.forward(|| forward(images)) } else { forward(images) };
            self.reference = Some(inference::all_gather_rows(context.world, context.dataset, Part::HeldOut, logits)?);
        }
        Ok(())
    }

    fn phases(&self) -> Vec<Phase> {
        vec![self.phase.clone()]
    }

    fn passes(&self, _: usize, _: usize) -> Vec<Pass> {
        vec![Pass::new("forget", [Sampler::train(Part::Forget), Sampler::cycle(Part::Retain, View::Train)])]
    }

    /// This rank's shard of the held-out images of the step. With a frozen reference, its logits on them instead.
    fn draw(&mut self, step: &Step<'_>) -> Result<Drawn> {
        let positions = self.selector.select(step, step.batch(Part::Forget.name())?)?;
        let local = &positions[step.world.shard(positions.len())];
        let part = step.dataset.indices(Part::HeldOut);
        let indices: Vec<usize> = local.iter().map(|&position| part[position]).collect();
        let tensor = match &self.reference {
            Some(logits) => {
                let rows: Vec<i64> = local.iter().map(|&position| position as i64).collect();
                logits.f_index_select(0, &upload(&Tensor::f_from_slice(&rows)?, logits.device())?)?
            }
            None => {
                step.world.count_images(&format!("{}/heldout", step.purpose), indices.len());
                step.dataset.make_batch(Part::HeldOut, &indices, None)?.0
            }
        };
        Ok(Drawn { tensors: vec![tensor], samples: positions.len(), indices })
    }

    fn graph_key(&self, _: usize, _: usize) -> Option<u64> {
        Some(0)
    }

    fn losses(&mut self, step: &Step<'_>) -> Result<Vec<Term>> {
        let (forget, retain) = (step.batch(Part::Forget.name())?, step.batch(Part::Retain.name())?);
        let ReGUnSettings { temperature, retain_weight, forget_weight, .. } = self.settings;
        // The order of the forward passes is part of the method: each moves the running statistics of BatchNorm.
        let forget_logits = step.train(forget)?;
        let target = no_grad(|| self.target(step))?;
        let retain_logits = step.train(retain)?;
        let kl = kl_sum(&target, &forget_logits, temperature);
        let ce = cross_entropy_sum(&retain_logits, &retain.labels, 0.0);
        Ok(vec![
            Term::over(forget, "forget_kl", forget_weight, kl).with_accuracy(&forget_logits, forget),
            Term::over(retain, "retain_ce", retain_weight, ce).with_accuracy(&retain_logits, retain),
        ])
    }
}
