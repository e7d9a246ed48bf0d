//! What a training method is: base training and the ten unlearning methods share this interface and one engine.
//!
//! A method says what it needs once ([`Method::prepare`]), how its epochs are built ([`Method::phases`],
//! [`Method::passes`]) and what one micro-step computes ([`Method::losses`]). The engine supplies everything else:
//! batches, backward pass, reduction over ranks, clipping, optimizer, schedule, logging, evaluation.
//!
//! Three shapes fit: a loss per batch (most), alternating passes within an epoch (SCRUB), and a one-shot edit that
//! trains nothing (SSD: `prepare` edits the model, `phases` is empty). A method whose gradient is not that of one local
//! loss (LUR: collectives in the middle) overrides [`Method::gradients`]; one that edits gradients or weights (SalUn's
//! mask) has [`Method::after_backward`] and [`Method::after_step`].

use tch::Tensor;

use super::mixed::{self, Mixed};
use super::reduce::Reducer;
use super::trainer::Trainer;
use crate::config::schema::{OptimConfig, SchedulerConfig};
use crate::data::{Batch, DeviceDataset, Sampler};
use crate::distributed::World;
use crate::error::{Error, ErrorKind, Result};
use crate::models::{Forward, Mode, Model, Statistics};
use crate::optim::FlatParams;
use crate::random::RandomStream;
use crate::random::SampleKeys;

pub trait Method {
    /// Once, before the first step: masks, frozen copies, adversarial sets, cached logits, or the whole edit of a
    /// one-shot method.
    fn prepare(&mut self, trainer: &mut Trainer<'_>) -> Result<()> {
        let _ = trainer;
        Ok(())
    }

    /// Stretches of epochs, each with an optimizer of its own. Empty for a one-shot method.
    fn phases(&self) -> Vec<Phase>;

    /// The passes that make up epoch `epoch` (0-based) of phase number `phase`, in order.
    fn passes(&self, phase: usize, epoch: usize) -> Vec<Pass>;

    /// What the host decides for one micro-step, as tensors on the device: drawn labels, chosen images. Called before
    /// the step's kernels; [`Step::drawn`] has it afterwards.
    fn draw(&mut self, step: &Step<'_>) -> Result<Drawn> {
        let _ = step;
        Ok(Drawn::default())
    }

    /// Whether the kernels of a step may be recorded once and launched again for other batches of the same sizes: that
    /// is so where [`Method::gradients`], [`Method::after_backward`] and [`Method::after_step`] never look at a value
    /// on the device and decide nothing. The answer is a number that changes with the constants of a step (the weights
    /// of its terms, say). None: never.
    fn graph_key(&self, phase: usize, epoch: usize) -> Option<u64> {
        let _ = (phase, epoch);
        None
    }

    /// The loss terms of one micro-step.
    fn losses(&mut self, step: &Step<'_>) -> Result<Vec<Term>>;

    /// Leaves this rank's part of the gradient at the parameters; the engine adds it to the gradient buffers.
    ///
    /// The engine sums the buffers over the ranks: while the backward pass runs where [`Step::backward`] is asked to
    /// make it, once for each micro-step; otherwise afterwards, and there may be any number of passes.
    fn gradients(&mut self, step: &Step<'_>) -> Result<Vec<Term>> {
        let terms = self.losses(step)?;
        step.backward(&objective(&terms)?)?;
        Ok(terms)
    }

    /// After the gradients of all micro-steps and ranks are summed, before clipping and update.
    fn after_backward(&mut self, params: &mut FlatParams) -> Result<()> {
        let _ = params;
        Ok(())
    }

    /// After the update.
    fn after_step(&mut self, params: &mut FlatParams) -> Result<()> {
        let _ = params;
        Ok(())
    }
}

/// Epochs under one optimizer and one schedule.
#[derive(Debug, Clone)]
pub struct Phase {
    pub name: &'static str,
    pub epochs: usize,
    pub optim: OptimConfig,
    /// None: a constant learning rate.
    pub scheduler: Option<SchedulerConfig>,
    /// Whether the optimizer is told the parameters' names, so that `exclude_wd_norm_bias` can act.
    pub named_parameters: bool,
}

/// One walk over the driving samplers; it ends with the shortest of them.
#[derive(Debug, Clone)]
pub struct Pass {
    /// What the pass is called in the log; the same sampler may appear in passes of several names.
    pub name: &'static str,
    pub samplers: Vec<Sampler>,
}

impl Pass {
    pub fn new(name: &'static str, samplers: impl IntoIterator<Item = Sampler>) -> Self {
        Pass { name, samplers: samplers.into_iter().collect() }
    }
}

/// What [`Method::draw`] drew.
#[derive(Debug, Default)]
pub struct Drawn {
    /// This rank's.
    pub tensors: Vec<Tensor>,
    /// How many samples they stand for on all ranks together: with that, all shapes must be known.
    pub samples: usize,
    /// Indices in the data set of this rank's samples, where they are images: what layers that draw at random go by.
    pub indices: Vec<usize>,
}

impl Drawn {
    /// The one tensor.
    pub fn only(&self) -> Result<&Tensor> {
        let nothing = || Error::new(ErrorKind::Bug, "a step was made without what its method draws");
        self.tensors.first().ok_or_else(nothing)
    }
}

/// What one micro-step works on.
pub(super) struct MicroStep {
    pub batches: Vec<(&'static str, Batch)>,
    pub drawn: Drawn,
}

/// One micro-step, as a method sees it.
pub struct Step<'a> {
    pub model: &'a Model,
    pub world: &'a World,
    pub dataset: &'a DeviceDataset,
    pub phase: usize,
    pub pass: &'static str,
    /// 0-based within the phase.
    pub epoch: usize,
    /// Micro-steps before this one since the start of the training.
    pub index: u64,
    /// For random draws of the method's own: together with the use they make a stream.
    pub seed: u64,
    /// Role of the model in training, as random keys spell it.
    pub purpose: &'a str,
    pub(super) inputs: &'a MicroStep,
    pub(super) mixed: Option<Mixed>,
    /// float32 scalar; none where losses are not scaled.
    pub(super) loss_scale: Option<&'a Tensor>,
    /// BatchNorm takes its statistics over all ranks.
    pub(super) sync_batchnorm: bool,
    /// Where the gradients of all ranks meet; none where this is the only rank.
    pub(super) reducer: Option<&'a Reducer>,
}

impl Step<'_> {
    /// Logits [N, K] of the model in training for this rank's images (N may be 0), in train mode. With
    /// `trainer.sync_batchnorm` a collective call.
    pub fn train(&self, batch: &Batch) -> Result<Tensor> {
        self.train_with(self.model.state.tensors(), batch)
    }

    /// The same, such that gradients of gradients can be taken.
    pub fn train_twice_differentiable(&self, batch: &Batch) -> Result<Tensor> {
        let context = self.context(self.model.state.tensors(), batch.keys(), batch.global.len());
        self.forward(self.model, context.twice_differentiable(), &batch.images)
    }

    /// The same with other weights: one tensor for each slot of the layout, buffers included.
    pub fn train_with(&self, weights: &[Tensor], batch: &Batch) -> Result<Tensor> {
        self.forward(self.model, self.context(weights, batch.keys(), batch.global.len()), &batch.images)
    }

    /// The same of another model, whose layers draw at random apart from those of the model in training.
    pub fn train_teacher(&self, teacher: &Model, batch: &Batch) -> Result<Tensor> {
        let stream = RandomStream::new(self.seed, &format!("{}/{}/teacher/layers", self.purpose, self.pass));
        let keys = SampleKeys { stream: &stream, ..batch.keys() };
        self.forward(teacher, self.context(teacher.state.tensors(), keys, batch.global.len()), &batch.images)
    }

    /// The same of the model in training for this rank's share of the [drawn](Self::drawn) held-out images, of these
    /// indices in the data set.
    pub fn train_heldout(&self, images: &Tensor, samples: &[usize]) -> Result<Tensor> {
        let stream = RandomStream::new(self.seed, &format!("{}/heldout/layers", self.purpose));
        let keys = SampleKeys { stream: &stream, epoch: self.index, samples };
        let context = self.context(self.model.state.tensors(), keys, self.drawn().samples);
        self.forward(self.model, context, images)
    }

    /// Logits of another model in evaluation mode, in the precision of the step.
    pub fn eval_other(&self, model: &Model, images: &Tensor) -> Result<Tensor> {
        mixed::forward(self.mixed, || model.eval(images))
    }

    fn forward(&self, model: &Model, context: Forward<'_>, images: &Tensor) -> Result<Tensor> {
        mixed::forward(self.mixed, || model.forward(context, images))
    }

    /// For a batch of so many samples over all ranks.
    fn context<'s>(&'s self, weights: &'s [Tensor], keys: SampleKeys<'s>, samples: usize) -> Forward<'s> {
        let statistics = Statistics::of_training(self.world, self.sync_batchnorm, samples);
        Forward::new(weights, Mode::Train, statistics).drawing(keys)
    }

    /// `tensor` times the loss scale: what is left at the parameters as their gradient is scaled, and so is what
    /// backward passes in 16 bits start from.
    pub fn scaled(&self, tensor: &Tensor) -> Result<Tensor> {
        match self.loss_scale {
            Some(scale) => Ok(tensor.f_mul(scale)?),
            None => Ok(tensor.shallow_clone()),
        }
    }

    /// The whole backward pass of the micro-step. The gradients of all ranks may be summed while it runs, so nothing
    /// adds to them afterwards.
    pub fn backward(&self, loss: &Tensor) -> Result<()> {
        let loss = self.scaled(loss)?;
        match self.reducer {
            Some(reducer) => reducer.backward(&loss),
            None => Ok(loss.f_backward()?),
        }
    }

    /// Gradients of the scalar `loss` with respect to `inputs`, for methods that work on them; this rank's part, not
    /// scaled. `again`: they will be differentiated themselves.
    pub fn gradients_of(&self, loss: &Tensor, inputs: &[&Tensor], again: bool) -> Result<Vec<Tensor>> {
        let gradients = Tensor::f_run_backward(&[&self.scaled(loss)?], inputs, again, again)?;
        match self.loss_scale {
            Some(scale) => gradients.iter().map(|gradient| Ok(gradient.f_div(scale)?)).collect(),
            None => Ok(gradients),
        }
    }

    /// What [`Method::draw`] drew for this micro-step.
    pub fn drawn(&self) -> &Drawn {
        &self.inputs.drawn
    }

    /// The batch of the sampler with this name.
    pub fn batch(&self, sampler: &str) -> Result<&Batch> {
        self.inputs.batches.iter().find(|(name, _)| *name == sampler).map(|(_, batch)| batch).ok_or_else(|| {
            Error::new(
                ErrorKind::Bug,
                format!("pass {} asks for sampler `{sampler}`, which it does not list", self.pass),
            )
        })
    }
}

/// One term of the loss: `weight * sum / count`, summed over the ranks.
pub struct Term {
    /// Name in the log, `train/<name>`.
    pub name: &'static str,
    pub weight: f64,
    /// Scalar: sum over this rank's samples of the micro-step.
    pub sum: Tensor,
    /// Samples of the whole optimizer step, over all ranks: the divisor of the gradient.
    pub step_count: usize,
    /// Samples of this micro-step over all ranks: the divisor of the logged mean.
    pub count: usize,
    /// This rank's samples of this micro-step.
    pub local_count: usize,
    /// Logits [n, K] and labels [n] of this rank, where accuracy is worth logging.
    pub predictions: Option<(Tensor, Tensor)>,
}

impl Term {
    /// A sum over the samples of `batch`.
    pub fn over(batch: &Batch, name: &'static str, weight: f64, sum: Tensor) -> Self {
        Term {
            name,
            weight,
            sum,
            step_count: batch.step_count,
            count: batch.global.len(),
            local_count: batch.shard.len(),
            predictions: None,
        }
    }

    /// Logs the accuracy of these logits on the batch's labels too.
    pub fn with_accuracy(mut self, logits: &Tensor, batch: &Batch) -> Self {
        self.predictions = Some((logits.detach(), batch.labels.shallow_clone()));
        self
    }
}

/// This rank's part of the loss whose gradient the step follows.
pub fn objective(terms: &[Term]) -> Result<Tensor> {
    terms
        .iter()
        .map(|term| &term.sum * (term.weight / term.step_count as f64))
        .reduce(|a, b| a + b)
        .ok_or_else(|| Error::new(ErrorKind::Bug, "a step without loss terms"))
}
