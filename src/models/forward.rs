//! What a forward pass is given besides the images: whose weights, train or eval, where BatchNorm gets its statistics,
//! whose random numbers its layers draw, and which intermediate outputs the caller wants to see.
//!
//! Layers hold no tensors. They look their weights up here by [`Slot`], so that the same code serves the network
//! itself, a frozen copy, other weights of the same layout, and fused weights.

use std::cell::RefCell;

use tch::Tensor;

use super::fused::FusedState;
use super::layout::Slot;
use super::per_sample::{Layer, LayerPass};
use super::state::State;
use crate::error::Result;
use crate::random::SampleKeys;
use crate::torch::{self, AllReduce};

/// The tap of the head's input, N x features: what the penultimate layer says about an image.
pub const FEATURES: &str = "features";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    Train,
    Eval,
}

/// Where BatchNorm gets the mean and the variance that it normalises with.
#[derive(Debug, Clone, Copy)]
pub enum Statistics<'a> {
    /// The running averages, which stay as they are.
    Running,
    /// This process's batch, which also moves the running averages.
    Batch,
    /// The joined batch of all ranks, of so many samples, which also moves the running averages. Each layer's pass,
    /// forward and backward, is a collective call: all ranks make it, one without samples too.
    Global { ranks: &'a dyn AllReduce, samples: usize },
    /// Nowhere: the weights are [`FusedState`], the running averages are part of the convolutions.
    Fused,
}

impl<'a> Statistics<'a> {
    /// For a batch of so many samples over all ranks: `trainer.sync_batchnorm` says whose.
    pub fn of_training(ranks: &'a dyn AllReduce, synchronised: bool, samples: usize) -> Self {
        if synchronised { Statistics::Global { ranks, samples } } else { Statistics::Batch }
    }
}

/// Intermediate outputs, kept by name where they were asked for.
#[derive(Debug, Default)]
struct FeatureHooks {
    wanted: Vec<String>,
    taken: Vec<(String, Tensor)>,
}

/// The context that every layer is handed.
#[derive(Debug)]
pub struct Forward<'a> {
    weights: &'a [Tensor],
    mode: Mode,
    statistics: Statistics<'a>,
    keys: Option<SampleKeys<'a>>,
    twice_differentiable: bool,
    features: FeatureHooks,
    /// BatchNorm's counters of batches that this pass moves on.
    counters: RefCell<Vec<Tensor>>,
    /// None where layers are not recorded.
    layers: Option<RefCell<Vec<LayerPass>>>,
}

impl<'a> Forward<'a> {
    /// With `weights`, one for each slot of the layout: not necessarily those of a state.
    pub fn new(weights: &'a [Tensor], mode: Mode, statistics: Statistics<'a>) -> Self {
        Forward {
            weights,
            mode,
            statistics,
            keys: None,
            twice_differentiable: false,
            features: FeatureHooks::default(),
            counters: RefCell::default(),
            layers: None,
        }
    }

    /// Eval mode: running statistics.
    pub fn eval(state: &'a State) -> Self {
        Self::new(state.tensors(), Mode::Eval, Statistics::Running)
    }

    /// Train mode: BatchNorm uses the batch's statistics, this process's or those of all ranks, and moves the running
    /// averages.
    pub fn train(state: &'a State, statistics: Statistics<'a>) -> Self {
        Self::new(state.tensors(), Mode::Train, statistics)
    }

    /// Eval mode without BatchNorm, see [`FusedState`]. No gradients.
    pub fn fused(fused: &'a FusedState) -> Self {
        Self::new(fused.tensors(), Mode::Eval, Statistics::Fused)
    }

    /// Says who the samples are: layers that draw at random in train mode draw by it.
    pub fn drawing(mut self, keys: SampleKeys<'a>) -> Self {
        self.keys = Some(keys);
        self
    }

    /// Gradients of gradients will be taken: only operations that have them.
    pub fn twice_differentiable(mut self) -> Self {
        self.twice_differentiable = true;
        self
    }

    /// Asks for the output called `name`: [`FEATURES`], or a layer's name as in torchvision.
    pub fn with_feature_hook(mut self, name: &str) -> Self {
        self.features.wanted.push(name.to_owned());
        self
    }

    /// The output asked for by [`Forward::with_feature_hook`], if the architecture has passed one of that name.
    pub fn take(&mut self, name: &str) -> Option<Tensor> {
        let at = self.features.taken.iter().position(|(taken, _)| taken == name)?;
        Some(self.features.taken.swap_remove(at).1)
    }

    /// Called by architectures at each named output. What is kept must not be changed in place afterwards.
    pub fn feature(&mut self, name: &str, output: &Tensor) {
        if self.features.wanted.iter().any(|wanted| wanted == name) {
            self.features.taken.push((name.to_owned(), output.shallow_clone()));
        }
    }

    /// Asks for the input and the output of every layer that has parameters.
    pub fn with_layer_hooks(mut self) -> Self {
        self.layers = Some(RefCell::default());
        self
    }

    /// What [`Forward::with_layer_hooks`] asked for, in the order of the passes.
    pub fn take_layer_passes(&mut self) -> Vec<LayerPass> {
        self.layers.take().map(RefCell::into_inner).unwrap_or_default()
    }

    pub fn has_layer_hooks(&self) -> bool {
        self.layers.is_some()
    }

    /// Called by layers that have parameters: their output on its way to the next layer.
    pub fn passed(&self, layer: Layer, input: &Tensor, output: Tensor) -> Result<Tensor> {
        let Some(layers) = &self.layers else { return Ok(output) };
        // A learned token, say, comes from no image: its gradient is asked for all the same.
        let output = if output.requires_grad() { output } else { output.f_set_requires_grad(true)? };
        // What comes next may change its input in place: it gets a copy.
        let copy = output.f_mul_scalar(1.0)?;
        layers.borrow_mut().push(LayerPass { layer, input: input.shallow_clone(), output });
        Ok(copy)
    }

    /// Called by BatchNorm layers whose running averages this pass moves: each layer once in a pass.
    pub fn count_batch(&self, counter: Slot) {
        self.counters.borrow_mut().push(self.weight(counter).shallow_clone());
    }

    /// Moves all of these counters on, at once: one kernel on a GPU instead of one for each layer.
    pub fn count_batches(&mut self) -> Result<()> {
        torch::add_one(&std::mem::take(self.counters.get_mut()))
    }

    pub fn weight(&self, slot: Slot) -> &'a Tensor {
        &self.weights[slot.index()]
    }

    /// Absent where the caller did not say who the samples are.
    pub fn keys(&self) -> Option<&SampleKeys<'a>> {
        self.keys.as_ref()
    }

    pub fn is_twice_differentiable(&self) -> bool {
        self.twice_differentiable
    }

    pub fn mode(&self) -> Mode {
        self.mode
    }

    pub fn statistics(&self) -> Statistics<'a> {
        self.statistics
    }
}
