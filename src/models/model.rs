//! A network: an architecture with its state.

use std::sync::Arc;

use tch::{Device, Kind, Tensor, no_grad};

use super::architecture::Architecture;
use super::forward::{FEATURES, Forward};
use super::fused::FusedState;
use super::state::State;
use crate::error::{Error, ErrorKind, Result};

/// An architecture with its state.
pub struct Model {
    architecture: Arc<dyn Architecture>,
    pub state: State,
}

impl Model {
    /// A model with fresh initial weights. They depend only on the layout, `seed` and `purpose`.
    pub fn initialise(
        architecture: &Arc<dyn Architecture>,
        seed: u64,
        purpose: &str,
        kind: Kind,
        device: Device,
    ) -> Result<Self> {
        let state = State::init(architecture.layout(), seed, &format!("{purpose}/init"), kind, device)?;
        Ok(Model { architecture: Arc::clone(architecture), state })
    }

    pub fn new(architecture: &Arc<dyn Architecture>, state: State) -> Self {
        Model { architecture: Arc::clone(architecture), state }
    }

    pub fn architecture(&self) -> &dyn Architecture {
        &*self.architecture
    }

    /// A copy that shares no memory with this model and whose parameters need no gradient.
    pub fn frozen_copy(&self) -> Result<Model> {
        Ok(Model { architecture: Arc::clone(&self.architecture), state: self.state.deep_copy()? })
    }

    /// Logits (N, K) under the given context, with an autograd graph. Unlearning methods call `Step::train` instead,
    /// which makes the context.
    pub fn forward(&self, mut context: Forward<'_>, images: &Tensor) -> Result<Tensor> {
        self.architecture.forward(&mut context, images)
    }

    /// Logits (N, K) in eval mode, with an autograd graph.
    pub fn eval(&self, images: &Tensor) -> Result<Tensor> {
        self.forward(Forward::eval(&self.state), images)
    }

    /// Input of the head (N, F) in eval mode, with an autograd graph.
    pub fn features(&self, images: &Tensor) -> Result<Tensor> {
        let mut context = Forward::eval(&self.state).with_feature_hook(FEATURES);
        let _logits = self.architecture.forward(&mut context, images)?;
        context
            .take_feature(FEATURES)
            .ok_or_else(|| Error::new(ErrorKind::Bug, format!("the architecture has no output `{FEATURES}`")))
    }

    /// The fast path for many evaluation batches: maps images to logits (N, K), with BatchNorm fused into the
    /// convolutions and without gradients. It uses the weights of this moment: later training does not change them.
    pub fn fused(&self) -> Result<impl Fn(&Tensor) -> Result<Tensor> + '_> {
        let forward = self.fused_with_gradient()?;
        Ok(move |images: &Tensor| no_grad(|| forward(images)))
    }

    /// Like [`Model::fused`], but the logits have gradients with respect to the images.
    pub fn fused_with_gradient(&self) -> Result<impl Fn(&Tensor) -> Result<Tensor> + '_> {
        let fused = FusedState::new(&self.state)?;
        Ok(move |images: &Tensor| self.architecture.forward(&mut Forward::fused(&fused), images))
    }
}
