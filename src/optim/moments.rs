//! Running averages of an optimizer, in flat buffers with the layout of the parameters.
//!
//! They are saved by parameter name, so a saved state does not depend on the layout.

use std::collections::HashMap;
use std::sync::Arc;

use tch::Tensor;

use super::flat_layout::FlatLayout;
use super::flat_params::FlatParams;
use crate::error::{Error, Result};

/// A running average for every parameter, such as SGD's momentum.
#[derive(Debug)]
pub struct OptimizerMoments {
    name: &'static str,
    layout: Arc<FlatLayout>,
    buffers: Vec<Tensor>,
}

impl OptimizerMoments {
    /// Averages of zero, with the dtype and device of the parameters.
    pub fn zeros(name: &'static str, params: &FlatParams) -> Result<Self> {
        let layout = Arc::clone(params.layout());
        Ok(OptimizerMoments { name, buffers: layout.zeros(params.options()?)?, layout })
    }

    /// One buffer for each group of parameters.
    pub fn buffers_mut(&mut self) -> &mut [Tensor] {
        &mut self.buffers
    }

    /// A pair (`name/parameter`, view) for each parameter.
    pub fn named(&self) -> Result<Vec<(String, Tensor)>> {
        let params = self.layout.params().iter();
        params.map(|p| Ok((format!("{}/{}", self.name, p.name), p.view(&self.buffers[p.group])?))).collect()
    }
}

/// Copies saved tensors into `own`, views with the same names.
///
/// # Errors
/// `Missing` unless `saved` has exactly the names and shapes of `own`.
pub fn restore(own: Vec<(String, Tensor)>, saved: Vec<(String, Tensor)>) -> Result<()> {
    let error = |fault: String| {
        Err(Error::missing(format!("saved optimizer state: {fault}")).hint(
            "it belongs to another optimizer or model: remove the saved training state to start from the beginning",
        ))
    };
    let mut saved: HashMap<String, Tensor> = saved.into_iter().collect();
    for (name, mut view) in own {
        match saved.remove(&name) {
            None => return error(format!("{name} is missing")),
            Some(tensor) if tensor.size() != view.size() => {
                return error(format!("{name} has shape {:?}, wanted {:?}", tensor.size(), view.size()));
            }
            Some(tensor) => view.f_copy_(&tensor)?,
        }
    }
    match saved.keys().min() {
        Some(name) => error(format!("{name} is unexpected ({} such)", saved.len())),
        None => Ok(()),
    }
}
