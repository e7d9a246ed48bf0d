//! Running averages of an optimizer: flat buffers like the parameters', saved by parameter name, so that a saved state
//! does not depend on how the buffers are laid out.

use std::collections::HashMap;
use std::sync::Arc;

use tch::{Kind, Tensor};

use super::flat::{FlatLayout, FlatParams};
use crate::error::{Error, Result};

/// One average of every parameter, such as SGD's momentum.
#[derive(Debug)]
pub struct Moments {
    name: &'static str,
    layout: Arc<FlatLayout>,
    buffers: Vec<Tensor>,
}

impl Moments {
    /// Zeros, of the parameters' dtype and device.
    pub fn zeros(name: &'static str, params: &FlatParams) -> Result<Self> {
        let options = match params.groups().first() {
            Some(group) => (group.values.f_kind()?, group.values.device()),
            None => (Kind::Float, tch::Device::Cpu),
        };
        let layout = Arc::clone(params.layout());
        Ok(Moments { name, buffers: layout.zeros(options)?, layout })
    }

    /// One for each group of parameters.
    pub fn buffers_mut(&mut self) -> &mut [Tensor] {
        &mut self.buffers
    }

    /// (`name/parameter`, view) for each parameter.
    pub fn named(&self) -> Result<Vec<(String, Tensor)>> {
        let params = self.layout.params().iter();
        params.map(|p| Ok((format!("{}/{}", self.name, p.name), p.view(&self.buffers[p.group])?))).collect()
    }
}

/// Copies saved tensors into `own`, the views of the same names. Every name must be there with its shape, and no other.
pub fn restore(own: Vec<(String, Tensor)>, saved: Vec<(String, Tensor)>) -> Result<()> {
    let fault = |what: String| {
        Err(Error::missing(format!("saved optimizer state: {what}"))
            .hint("it belongs to another optimizer or model; remove the saved training state to start afresh"))
    };
    let mut saved: HashMap<String, Tensor> = saved.into_iter().collect();
    for (name, mut view) in own {
        match saved.remove(&name) {
            None => return fault(format!("{name} is missing")),
            Some(tensor) if tensor.size() != view.size() => {
                return fault(format!("{name} has shape {:?}, wanted {:?}", tensor.size(), view.size()));
            }
            Some(tensor) => view.f_copy_(&tensor)?,
        }
    }
    match saved.keys().min() {
        Some(name) => fault(format!("{name} is unexpected ({} such)", saved.len())),
        None => Ok(()),
    }
}
