//! The choice of an update rule by the configuration.

use super::adamw::Adamw;
use super::flat_params::FlatParams;
use super::optimizer::Optimizer;
use super::sgd::Sgd;
use crate::config::schema::{OptimConfig, OptimName};
use crate::error::{Error, Result};

/// Number of moments that the configured optimizer keeps for each parameter.
pub fn num_moments(optim: &OptimConfig) -> usize {
    match optim.name {
        OptimName::Sgd => 1,
        OptimName::Adamw => 2,
        OptimName::None => 0,
    }
}

/// Builds the configured optimizer for these parameters, with empty state. Settings that are not set have PyTorch's
/// defaults.
///
/// # Errors
/// `Usage` for settings outside their range, and for `optim.name=none`.
pub fn build(optim: &OptimConfig, params: &FlatParams) -> Result<Box<dyn Optimizer>> {
    match optim.name {
        OptimName::Sgd => Ok(Box::new(Sgd::new(optim, params)?)),
        OptimName::Adamw => Ok(Box::new(Adamw::new(optim, params)?)),
        OptimName::None => Err(Error::usage("`optim.name`: got none, but this run trains")
            .hint("choose optim.name=sgd or optim.name=adamw")),
    }
}
