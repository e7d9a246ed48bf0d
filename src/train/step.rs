//! One micro-step, as a training method sees it: its inputs, its place in the training, and its forward and backward
//! passes.

use tch::Tensor;

use super::context::TrainContext;
use super::gradient_all_reduce::GradientAllReduce;
use super::mixed::{self, Mixed};
use crate::data::{Batch, DeviceDataset};
use crate::distributed::World;
use crate::error::{Error, ErrorKind, Result};
use crate::models::{Forward, Mode, Model, Statistics};
use crate::random::{RandomStream, SampleKeys};

/// The host's decisions for one micro-step, made by [`Method::draw`](super::Method::draw).
#[derive(Debug, Default)]
pub struct Drawn {
    /// Tensors of this rank, on the device.
    pub tensors: Vec<Tensor>,
    /// Samples that the tensors stand for, over all ranks. All shapes follow from this number.
    pub samples: usize,
    /// Indices in the data set of this rank's samples, if the tensors are images. Layers that draw at random use them
    /// as keys.
    pub indices: Vec<usize>,
}

impl Drawn {
    /// The tensor of a method that draws a single one.
    ///
    /// # Errors
    /// `Bug` if there is none.
    pub fn tensor(&self) -> Result<&Tensor> {
        let missing = || Error::new(ErrorKind::Bug, "a step was made without the tensors that its method draws");
        self.tensors.first().ok_or_else(missing)
    }
}

/// The inputs of one micro-step.
pub(super) struct MicroStep {
    /// Name of each sampler, and its batch.
    pub batches: Vec<(&'static str, Batch)>,
    pub drawn: Drawn,
}

/// The place of an optimizer step in the training.
#[derive(Debug, Clone, Copy)]
pub(super) struct StepPosition {
    /// Number of the phase, from 0.
    pub phase: usize,
    pub pass: &'static str,
    /// 0-based within the phase.
    pub epoch: usize,
    /// Micro-steps before this step since the start of the training.
    pub micro_steps: u64,
}

impl StepPosition {
    /// Micro-step number `micro_step` (0-based) of the optimizer step, as the method sees it.
    pub fn step<'a>(&self, context: &'a TrainContext<'_>, inputs: &'a MicroStep, micro_step: usize) -> Step<'a> {
        Step {
            model: context.model,
            world: context.world,
            dataset: context.dataset,
            phase: self.phase,
            pass: self.pass,
            epoch: self.epoch,
            index: self.micro_steps + micro_step as u64,
            seed: context.settings.seed,
            purpose: &context.settings.purpose,
            inputs,
            mixed: context.mixed(),
            loss_scale: None,
            sync_batchnorm: context.settings.sync_batchnorm,
            all_reduce: None,
        }
    }
}

/// One micro-step, as a method sees it.
pub struct Step<'a> {
    // --- model, data and ranks ---
    pub model: &'a Model,
    pub world: &'a World,
    pub dataset: &'a DeviceDataset,

    // --- place in the training ---
    /// Number of the phase, from 0.
    pub phase: usize,
    pub pass: &'static str,
    /// 0-based within the phase.
    pub epoch: usize,
    /// Micro-steps before this one since the start of the training.
    pub index: u64,

    // --- random keys ---
    /// Seed of the method's own random draws.
    pub seed: u64,
    /// Role of the model in training, as random keys spell it.
    pub purpose: &'a str,

    // --- computation ---
    pub(super) inputs: &'a MicroStep,
    pub(super) mixed: Option<Mixed>,
    /// float32 scalar. None: losses are not scaled.
    pub(super) loss_scale: Option<&'a Tensor>,
    /// BatchNorm takes its statistics over all ranks.
    pub(super) sync_batchnorm: bool,
    /// The all-reduce of the gradients. None with a single rank.
    pub(super) all_reduce: Option<&'a GradientAllReduce>,
}

impl Step<'_> {
    // --- inputs ---

    /// The result of [`Method::draw`](super::Method::draw) for this micro-step.
    pub fn drawn(&self) -> &Drawn {
        &self.inputs.drawn
    }

    /// The batch of the sampler with this name.
    ///
    /// # Errors
    /// `Bug` if the pass has no such sampler.
    pub fn batch(&self, sampler: &str) -> Result<&Batch> {
        self.inputs.batches.iter().find(|(name, _)| *name == sampler).map(|(_, batch)| batch).ok_or_else(|| {
            Error::new(
                ErrorKind::Bug,
                format!("pass {} asks for sampler `{sampler}`, which it does not list", self.pass),
            )
        })
    }

    // --- forward passes ---

    /// Logits [N, K] of the model in training for this rank's images (N may be 0), in train mode. A collective call if
    /// `trainer.sync_batchnorm` is true.
    pub fn train(&self, batch: &Batch) -> Result<Tensor> {
        self.train_with_weights(self.model.state.tensors(), batch)
    }

    /// Like [`train`](Self::train), with an autograd graph that has second derivatives.
    pub fn train_twice_differentiable(&self, batch: &Batch) -> Result<Tensor> {
        let context = self.context(self.model.state.tensors(), batch.keys(), batch.global.len());
        self.forward(self.model, context.twice_differentiable(), &batch.images)
    }

    /// Like [`train`](Self::train) with other weights: one tensor for each slot of the layout, buffers included.
    pub fn train_with_weights(&self, weights: &[Tensor], batch: &Batch) -> Result<Tensor> {
        self.forward(self.model, self.context(weights, batch.keys(), batch.global.len()), &batch.images)
    }

    /// Logits [N, K] of `teacher` in train mode. Its layers draw at random from a stream of their own.
    pub fn train_teacher(&self, teacher: &Model, batch: &Batch) -> Result<Tensor> {
        let stream = RandomStream::new(self.seed, &format!("{}/{}/teacher/layers", self.purpose, self.pass));
        let keys = SampleKeys { stream: &stream, ..batch.keys() };
        self.forward(teacher, self.context(teacher.state.tensors(), keys, batch.global.len()), &batch.images)
    }

    /// Logits [n, K] of the model in training, in train mode, for this rank's shard of the [drawn](Self::drawn)
    /// held-out images. `samples` are their indices in the data set.
    pub fn train_heldout(&self, images: &Tensor, samples: &[usize]) -> Result<Tensor> {
        let stream = RandomStream::new(self.seed, &format!("{}/heldout/layers", self.purpose));
        let keys = SampleKeys { stream: &stream, epoch: self.index, samples };
        let context = self.context(self.model.state.tensors(), keys, self.drawn().samples);
        self.forward(self.model, context, images)
    }

    /// Logits [N, K] of another model in evaluation mode, in the precision of the step.
    pub fn eval_model(&self, model: &Model, images: &Tensor) -> Result<Tensor> {
        mixed::forward(self.mixed, || model.eval(images))
    }

    fn forward(&self, model: &Model, context: Forward<'_>, images: &Tensor) -> Result<Tensor> {
        mixed::forward(self.mixed, || model.forward(context, images))
    }

    /// The context of a forward pass in train mode, for a batch of `samples` over all ranks.
    fn context<'s>(&'s self, weights: &'s [Tensor], keys: SampleKeys<'s>, samples: usize) -> Forward<'s> {
        let statistics = Statistics::for_training(self.world, self.sync_batchnorm, samples);
        Forward::new(weights, Mode::Train, statistics).with_sample_keys(keys)
    }

    // --- backward passes ---

    /// `tensor` times the loss scale. Every backward pass in 16 bits starts from a scaled tensor, and the gradients at
    /// the parameters are scaled.
    pub fn scaled(&self, tensor: &Tensor) -> Result<Tensor> {
        match self.loss_scale {
            Some(scale) => Ok(tensor.f_mul(scale)?),
            None => Ok(tensor.shallow_clone()),
        }
    }

    /// Runs the only backward pass of the micro-step. The gradients of all ranks may be all-reduced while it runs, so
    /// the method must not add to them afterwards.
    pub fn backward(&self, loss: &Tensor) -> Result<()> {
        let loss = self.scaled(loss)?;
        match self.all_reduce {
            Some(all_reduce) => all_reduce.backward(&loss),
            None => Ok(loss.f_backward()?),
        }
    }

    /// This rank's part of the gradients of the scalar `loss` with respect to `inputs`, not scaled. For methods that
    /// compute with gradients. `create_graph`: the gradients have a graph and can be differentiated.
    pub fn gradients_of(&self, loss: &Tensor, inputs: &[&Tensor], create_graph: bool) -> Result<Vec<Tensor>> {
        let gradients = Tensor::f_run_backward(&[&self.scaled(loss)?], inputs, create_graph, create_graph)?;
        match self.loss_scale {
            Some(scale) => gradients.iter().map(|gradient| Ok(gradient.f_div(scale)?)).collect(),
            None => Ok(gradients),
        }
    }
}
