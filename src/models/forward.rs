//! The context of a forward pass: weights, train or eval mode, BatchNorm statistics, random numbers of the samples, and
//! the intermediate outputs that the caller asks for.
//!
//! Layers hold no tensors. They look up their weights here by [`Slot`]. So the same code runs with the state of the
//! model, a frozen copy, other weights of the same layout, and fused weights.

use std::cell::RefCell;

use tch::Tensor;

use super::fused::FusedState;
use super::layer_pass::{Layer, LayerPass};
use super::layout::Slot;
use super::state::State;
use super::statistics::Statistics;
use crate::error::Result;
use crate::random::SampleKeys;
use crate::torch;

/// Name of the feature hook on the head's input (N, features), the output of the penultimate layer.
pub const FEATURES: &str = "features";

/// Train or eval mode of the layers that draw random numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    Train,
    Eval,
}

/// Names of the wanted intermediate outputs, and those that the pass has taken so far.
#[derive(Debug, Default)]
struct FeatureHooks {
    wanted: Vec<String>,
    taken: Vec<(String, Tensor)>,
}

/// The context of one forward pass, which every layer gets.
#[derive(Debug)]
pub struct Forward<'a> {
    // --- configuration of the pass ---
    weights: &'a [Tensor],
    mode: Mode,
    statistics: Statistics<'a>,
    keys: Option<SampleKeys<'a>>,
    twice_differentiable: bool,

    // --- collected by the pass ---
    features: FeatureHooks,
    /// Batch counters of the BatchNorm layers that update their running averages in this pass.
    counters: RefCell<Vec<Tensor>>,
    /// Inputs and outputs of layers. None without layer hooks.
    layers: Option<RefCell<Vec<LayerPass>>>,
}

impl<'a> Forward<'a> {
    /// A pass with any `weights`, one tensor for each slot of the layout. They need not belong to a state.
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

    /// A pass in eval mode, with running statistics.
    pub fn eval(state: &'a State) -> Self {
        Self::new(state.tensors(), Mode::Eval, Statistics::Running)
    }

    /// A pass in train mode. BatchNorm uses the statistics of the batch, this process's or that of all ranks, and
    /// updates the running averages.
    pub fn train(state: &'a State, statistics: Statistics<'a>) -> Self {
        Self::new(state.tensors(), Mode::Train, statistics)
    }

    /// A pass in eval mode with BatchNorm fused into the convolutions, see [`FusedState`]. Parameters get no gradients.
    pub fn fused(fused: &'a FusedState) -> Self {
        Self::new(fused.tensors(), Mode::Eval, Statistics::Fused)
    }

    /// Sets the random keys of the samples. In train mode, random layers draw from each sample's own key.
    pub fn with_sample_keys(mut self, keys: SampleKeys<'a>) -> Self {
        self.keys = Some(keys);
        self
    }

    /// Restricts the pass to operations that have second derivatives.
    pub fn twice_differentiable(mut self) -> Self {
        self.twice_differentiable = true;
        self
    }

    /// Asks for the output called `name`: [`FEATURES`], or a layer's name as in torchvision.
    pub fn with_feature_hook(mut self, name: &str) -> Self {
        self.features.wanted.push(name.to_owned());
        self
    }

    /// Takes the output that [`Forward::with_feature_hook`] asked for. None if the architecture has no output of that
    /// name.
    pub fn take_feature(&mut self, name: &str) -> Option<Tensor> {
        let at = self.features.taken.iter().position(|(taken, _)| taken == name)?;
        Some(self.features.taken.swap_remove(at).1)
    }

    /// Offers a named output to the feature hooks. Architectures call it, and must not change the output in place
    /// afterwards.
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

    /// Takes the layer passes that [`Forward::with_layer_hooks`] asked for, in the order of the passes.
    pub fn take_layer_passes(&mut self) -> Vec<LayerPass> {
        self.layers.take().map(RefCell::into_inner).unwrap_or_default()
    }

    pub fn has_layer_hooks(&self) -> bool {
        self.layers.is_some()
    }

    /// Records a layer's input and output if the caller asked for them, and returns the output for the next layer.
    /// Layers with parameters call it.
    pub fn record_layer(&self, layer: Layer, input: &Tensor, output: Tensor) -> Result<Tensor> {
        let Some(layers) = &self.layers else { return Ok(output) };
        // An output that does not depend on the images, such as a learned token, needs a gradient too.
        let output = if output.requires_grad() { output } else { output.f_set_requires_grad(true)? };
        // The next layer may change its input in place, so it gets a copy.
        let copy = output.f_mul_scalar(1.0)?;
        layers.borrow_mut().push(LayerPass { layer, input: input.shallow_clone(), output });
        Ok(copy)
    }

    /// Registers the batch counter of a BatchNorm layer that updates its running averages, once per layer and pass.
    pub fn count_batch(&self, counter: Slot) {
        self.counters.borrow_mut().push(self.weight(counter).shallow_clone());
    }

    /// Adds one to all registered counters together: on a GPU one kernel instead of one for each layer.
    pub fn count_batches(&mut self) -> Result<()> {
        torch::add_one(&std::mem::take(self.counters.get_mut()))
    }

    /// The tensor of this slot, a parameter or a buffer.
    pub fn weight(&self, slot: Slot) -> &'a Tensor {
        &self.weights[slot.index()]
    }

    /// Random keys of the samples. None if the caller has not set them with [`Forward::with_sample_keys`].
    pub fn sample_keys(&self) -> Option<&SampleKeys<'a>> {
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
