//! The interface of a training method. Base training and the ten unlearning methods implement it, and one trainer runs
//! them all.
//!
//! A method prepares itself once ([`Method::prepare`]), lists its epochs ([`Method::phases`], [`Method::passes`]) and
//! computes the loss of one micro-step ([`Method::losses`]). The trainer does the rest: batches, backward pass,
//! all-reduce of gradients, clipping, optimizer, schedule, logging, evaluation.
//!
//! Three kinds of method fit: a loss per batch (most methods), alternating passes within an epoch (SCRUB), and a
//! one-shot edit without training (SSD: `prepare` edits the model, `phases` is empty). LUR needs collectives between
//! its backward passes, so its gradient is not that of one local loss: such a method overrides [`Method::gradients`]. A
//! method that edits gradients or weights (SalUn's mask) overrides [`Method::after_backward`] and
//! [`Method::after_step`].

use super::context::TrainContext;
use super::phase::{Pass, Phase};
use super::step::{Drawn, Step};
use super::term::{Term, objective};
use crate::error::Result;
use crate::optim::FlatParams;

/// A training method: its preparation, its epochs, and the loss of a micro-step.
pub trait Method {
    /// Runs once, before the first step: makes masks, frozen copies, adversarial sets, cached logits, or the whole edit
    /// of a one-shot method.
    fn prepare(&mut self, context: &mut TrainContext<'_>) -> Result<()> {
        let _ = context;
        Ok(())
    }

    /// Stretches of epochs, each with an optimizer of its own. Empty for a one-shot method.
    fn phases(&self) -> Vec<Phase>;

    /// The passes of epoch `epoch` (0-based) of phase number `phase`, in order. Before `prepare` the samplers may hold
    /// stand-ins of the same number of samples: the plan of the run needs the sizes alone.
    fn passes(&self, phase: usize, epoch: usize) -> Vec<Pass>;

    /// The host's decisions for one micro-step, as tensors on the device: drawn labels, chosen images. Runs before the
    /// kernels of the step, which find them in [`Step::drawn`].
    fn draw(&mut self, step: &Step<'_>) -> Result<Drawn> {
        let _ = step;
        Ok(Drawn::default())
    }

    /// The key under which the kernels of a step are captured in a CUDA graph and replayed for other batches of the
    /// same sizes. The key changes with the constants of a step, such as the weights of its terms. None: a step is
    /// never captured. Only a method whose [`Method::gradients`], [`Method::after_backward`] and [`Method::after_step`]
    /// never read a value from the device and decide nothing on the host may have a key.
    fn graph_key(&self, phase: usize, epoch: usize) -> Option<u64> {
        let _ = (phase, epoch);
        None
    }

    /// The loss terms of one micro-step.
    fn losses(&mut self, step: &Step<'_>) -> Result<Vec<Term>>;

    /// Computes this rank's part of the gradient and stores it in the parameters' `grad`. The trainer adds it to the
    /// gradient buffers. Returns the loss terms, for the log.
    ///
    /// The buffers are all-reduced over the ranks. A method that calls [`Step::backward`], once for each micro-step,
    /// has them all-reduced while the backward pass runs. Otherwise it makes any number of backward passes, and the
    /// all-reduce follows.
    fn gradients(&mut self, step: &Step<'_>) -> Result<Vec<Term>> {
        let terms = self.losses(step)?;
        step.backward(&objective(&terms)?)?;
        Ok(terms)
    }

    /// Runs after the all-reduce of the gradients of all micro-steps, before clipping and update.
    fn after_backward(&mut self, params: &mut FlatParams) -> Result<()> {
        let _ = params;
        Ok(())
    }

    /// Runs after the update of the weights.
    fn after_step(&mut self, params: &mut FlatParams) -> Result<()> {
        let _ = params;
        Ok(())
    }
}
