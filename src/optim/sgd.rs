//! Stochastic gradient descent with momentum (Sutskever et al. 2013), as in PyTorch: dampening is 0, and weight decay
//! is added to the gradient.
//!
//! ```text
//! d = g + weight_decay w
//! b = momentum b + d            b starts at 0, so the first b is the first d
//! w = w - lr (nesterov ? d + momentum b : b)
//! ```

use tch::{Tensor, no_grad};

use super::flat_params::FlatParams;
use super::moments::{OptimizerMoments, restore};
use super::optimizer::Optimizer;
use crate::config::schema::OptimConfig;
use crate::error::{Error, Result};
use crate::torch::{SgdSettings, Update, fused_sgd};

/// The SGD rule with its momentum.
#[derive(Debug)]
pub struct Sgd {
    settings: SgdSettings,
    momentum_buffer: OptimizerMoments,
}

impl Sgd {
    /// The configured rule for `params`, before the first update.
    ///
    /// # Errors
    /// `Usage` for a negative momentum, and for Nesterov's method without momentum.
    pub fn new(optim: &OptimConfig, params: &FlatParams) -> Result<Self> {
        let settings =
            SgdSettings { momentum: optim.momentum.unwrap_or(0.0), nesterov: optim.nesterov.unwrap_or(false) };
        let SgdSettings { momentum, nesterov } = settings;
        if !(momentum >= 0.0 && momentum.is_finite()) {
            return Err(Error::usage(format!("`optim.momentum`: got {momentum}, wanted at least 0")));
        }
        if nesterov && momentum == 0.0 {
            return Err(Error::usage("`optim.nesterov`: Nesterov's method needs momentum above 0, got 0")
                .hint("set optim.momentum=0.9 or optim.nesterov=false"));
        }
        Ok(Sgd { settings, momentum_buffer: OptimizerMoments::zeros("momentum_buffer", params)? })
    }
}

impl Optimizer for Sgd {
    fn update(&mut self, params: &mut FlatParams, update: Update<'_>) -> Result<()> {
        no_grad(|| {
            let groups = params.groups_mut().iter_mut().zip(self.momentum_buffer.buffers_mut());
            for (group, buffer) in groups {
                fused_sgd(&mut group.values, &group.grads, buffer, update, group.weight_decay, self.settings)?;
            }
            Ok(())
        })
    }

    fn state(&self) -> Result<Vec<(String, Tensor)>> {
        self.momentum_buffer.named()
    }

    fn load_state(&mut self, saved: Vec<(String, Tensor)>) -> Result<()> {
        no_grad(|| restore(self.state()?, saved))
    }
}
