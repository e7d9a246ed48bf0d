//! A network: an architecture with its state.

use std::sync::Arc;

use tch::{Device, Kind, Tensor, no_grad};

use crate::error::{Error, ErrorKind, Result};
use crate::models::{Architecture, FEATURES, Forward, FusedState, State};

pub struct Model {
    architecture: Arc<dyn Architecture>,
    pub state: State,
}

impl Model {
    /// Freshly initialised weights, a function of `seed` and `purpose` alone.
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

    /// A copy that nothing trains and that shares no memory with this model.
    pub fn frozen_copy(&self) -> Result<Model> {
        Ok(Model { architecture: Arc::clone(&self.architecture), state: self.state.deep_copy()? })
    }

    /// Logits [N, K] as `context` says; gradients are recorded. Methods call [`Step::train`](super::Step::train),
    /// which makes the context.
    pub fn forward(&self, mut context: Forward<'_>, images: &Tensor) -> Result<Tensor> {
        self.architecture.forward(&mut context, images)
    }

    /// Logits [N, K] in evaluation mode; gradients are recorded.
    pub fn eval(&self, images: &Tensor) -> Result<Tensor> {
        self.forward(Forward::eval(&self.state), images)
    }

    /// Input of the head [N, F], in evaluation mode.
    pub fn features(&self, images: &Tensor) -> Result<Tensor> {
        let mut context = Forward::eval(&self.state).with_feature_hook(FEATURES);
        let _logits = self.architecture.forward(&mut context, images)?;
        context.take(FEATURES).ok_or_else(|| Error::new(ErrorKind::Bug, "the architecture does not show its features"))
    }

    /// The fast path for many evaluation batches: BatchNorm fused into the convolutions, no gradients. A snapshot:
    /// later training does not reach it.
    pub fn fused(&self) -> Result<impl Fn(&Tensor) -> Result<Tensor> + '_> {
        let forward = self.fused_with_gradient()?;
        Ok(move |images: &Tensor| no_grad(|| forward(images)))
    }

    /// The same with gradients with respect to the images.
    pub fn fused_with_gradient(&self) -> Result<impl Fn(&Tensor) -> Result<Tensor> + '_> {
        let fused = FusedState::new(&self.state)?;
        Ok(move |images: &Tensor| self.architecture.forward(&mut Forward::fused(&fused), images))
    }
}
