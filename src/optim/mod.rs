//! Optimizers as pure updates of flat buffers, learning-rate schedules as pure functions of the epoch.
//!
//! | module | holds |
//! | --- | --- |
//! | [`flat`] | parameters and gradients as views of one buffer per weight-decay group; buckets; clipping |
//! | [`groups`] | which parameters decay |
//! | [`moments`] | an optimizer's running averages, saved by parameter name |
//! | [`sgd`], [`adamw`] | update rules |
//! | [`schedule`] | the learning rate of an epoch |

pub mod adamw;
pub mod flat;
pub mod groups;
pub mod moments;
pub mod schedule;
pub mod sgd;

use std::fmt::Debug;

use tch::Tensor;

use crate::config::schema::{OptimConfig, OptimName};
use crate::error::{Error, Result};
use crate::torch::Update;

pub use flat::FlatParams;
pub use groups::Groups;

use adamw::Adamw;
use sgd::Sgd;

/// An update rule with its state.
pub trait Optimizer: Debug + Send {
    /// One update of the parameters by their gradients, which stay as they are. Does not wait for the device.
    fn update(&mut self, params: &mut FlatParams, update: Update<'_>) -> Result<()>;

    /// The same with a learning rate that the host knows.
    fn step(&mut self, params: &mut FlatParams, lr: f64) -> Result<()> {
        self.update(params, Update { lr: &Tensor::from(lr), skip: None })
    }

    /// What a resumed run needs to go on as if it had never stopped: names like `momentum_buffer/conv1.weight`. The
    /// tensors are views: copy them before the next step.
    fn state(&self) -> Result<Vec<(String, Tensor)>>;

    /// Takes back what [`Optimizer::state`] gave: exactly those names and shapes.
    fn load_state(&mut self, saved: Vec<(String, Tensor)>) -> Result<()>;
}

/// The optimizer that the configuration names, for these parameters, with empty state. What is left out has PyTorch's
/// default.
pub fn build(optim: &OptimConfig, params: &FlatParams) -> Result<Box<dyn Optimizer>> {
    match optim.name {
        OptimName::Sgd => Ok(Box::new(Sgd::new(optim, params)?)),
        OptimName::Adamw => Ok(Box::new(Adamw::new(optim, params)?)),
        OptimName::None => Err(Error::usage("`optim.name`: got none, but this run trains")
            .hint("choose optim.name=sgd or optim.name=adamw")),
    }
}
