//! A network: an architecture with its state.

use std::sync::Arc;

use tch::{Device, Kind, Tensor, no_grad};

use crate::error::{Error, Result};
use crate::models::{Architecture, FEATURES, Folded, Forward, Mode, State, Statistics};

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

    /// Logits [N, K] in train mode, by the statistics of a batch ([`Statistics::Batch`] or [`Statistics::Global`]):
    /// running statistics move on, gradients are recorded. Methods call [`Step::train`](super::Step::train), which
    /// chooses the statistics.
    pub fn train(&self, images: &Tensor, statistics: Statistics<'_>) -> Result<Tensor> {
        self.architecture.forward(&mut Forward::train(&self.state, statistics), images)
    }

    /// The same with other weights, one tensor for each slot of the layout; running statistics move on in the buffers
    /// among them.
    pub fn train_with(&self, weights: &[Tensor], images: &Tensor, statistics: Statistics<'_>) -> Result<Tensor> {
        self.architecture.forward(&mut Forward::new(weights, Mode::Train, statistics), images)
    }

    /// Logits [N, K] in evaluation mode; gradients are recorded.
    pub fn eval(&self, images: &Tensor) -> Result<Tensor> {
        self.architecture.forward(&mut Forward::eval(&self.state), images)
    }

    /// Input of the head [N, F], in evaluation mode.
    pub fn features(&self, images: &Tensor) -> Result<Tensor> {
        let mut context = Forward::eval(&self.state).tapping(FEATURES);
        let _logits = self.architecture.forward(&mut context, images)?;
        context
            .take(FEATURES)
            .ok_or_else(|| Error::new(crate::error::Kind::Bug, "the architecture does not show its features"))
    }

    /// The fast path for many evaluation batches: BatchNorm folded into the convolutions, no gradients. A snapshot:
    /// later training does not reach it.
    pub fn folded(&self) -> Result<impl Fn(&Tensor) -> Result<Tensor> + '_> {
        let forward = self.folded_with_gradient()?;
        Ok(move |images: &Tensor| no_grad(|| forward(images)))
    }

    /// The same with gradients with respect to the images.
    pub fn folded_with_gradient(&self) -> Result<impl Fn(&Tensor) -> Result<Tensor> + '_> {
        let folded = Folded::new(&self.state)?;
        Ok(move |images: &Tensor| self.architecture.forward(&mut Forward::folded(&folded), images))
    }
}
