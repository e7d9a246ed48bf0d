//! The trait that all update rules implement.

use std::fmt::Debug;

use tch::Tensor;

use super::flat_params::FlatParams;
use crate::error::Result;
use crate::torch::Update;

/// An update rule with its state.
pub trait Optimizer: Debug + Send {
    /// Updates the parameters once by their gradients, and leaves the gradients unchanged. Does not wait for the
    /// device. [`Update`] holds the learning rate as a tensor.
    fn update(&mut self, params: &mut FlatParams, update: Update<'_>) -> Result<()>;

    /// Like [`Optimizer::update`], with a learning rate on the host.
    fn step(&mut self, params: &mut FlatParams, lr: f64) -> Result<()> {
        self.update(params, Update { lr: &Tensor::from(lr), skip: None })
    }

    /// The state that a resumed run needs to continue exactly, under names like `momentum_buffer/conv1.weight`. The
    /// tensors are views: copy them before the next step.
    fn state(&self) -> Result<Vec<(String, Tensor)>>;

    /// Restores a state that [`Optimizer::state`] returned.
    ///
    /// # Errors
    /// `Missing` unless `saved` has exactly the names and shapes of this optimizer's state.
    fn load_state(&mut self, saved: Vec<(String, Tensor)>) -> Result<()>;
}
