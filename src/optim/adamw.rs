//! AdamW (Loshchilov and Hutter 2019, arXiv 1711.05101), as in PyTorch: weight decay is separate from the gradient.
//!
//! ```text
//! w = w - lr weight_decay w
//! m = beta1 m + (1 - beta1) g,  v = beta2 v + (1 - beta2) g^2
//! w = w - lr (m / (1 - beta1^t)) / (sqrt(v / (1 - beta2^t)) + eps)
//! ```

use tch::{Kind, Tensor, no_grad};

use super::flat_params::FlatParams;
use super::moments::{OptimizerMoments, restore};
use super::optimizer::Optimizer;
use crate::config::schema::OptimConfig;
use crate::error::{Error, Result};
use crate::torch::{AdamwMoments, AdamwSettings, Update, fused_adamw};

/// Added to the root of the second moment. PyTorch's default.
const EPS: f64 = 1e-8;
/// PyTorch's defaults.
const DEFAULT_BETAS: [f64; 2] = [0.9, 0.999];

/// The AdamW rule with its two running averages, of the gradient and of its square.
#[derive(Debug)]
pub struct Adamw {
    settings: AdamwSettings,
    exp_avg: OptimizerMoments,
    exp_avg_sq: OptimizerMoments,
    /// Number of updates so far, a float32 scalar.
    step: Tensor,
}

impl Adamw {
    /// The configured rule for `params`, before the first update.
    ///
    /// # Errors
    /// `Usage` unless both betas are in [0, 1).
    pub fn new(optim: &OptimConfig, params: &FlatParams) -> Result<Self> {
        let betas = optim.betas.unwrap_or(DEFAULT_BETAS);
        if !betas.iter().all(|beta| (0.0..1.0).contains(beta)) {
            return Err(Error::usage(format!("`optim.betas`: got {betas:?}, wanted two numbers in [0, 1)")));
        }
        let (_, device) = params.options()?;
        Ok(Adamw {
            settings: AdamwSettings { betas, eps: EPS },
            exp_avg: OptimizerMoments::zeros("exp_avg", params)?,
            exp_avg_sq: OptimizerMoments::zeros("exp_avg_sq", params)?,
            step: Tensor::f_zeros([], (Kind::Float, device))?,
        })
    }
}

impl Optimizer for Adamw {
    fn update(&mut self, params: &mut FlatParams, update: Update<'_>) -> Result<()> {
        no_grad(|| {
            let _ = self.step.f_add_scalar_(1)?;
            // A skipped step does not count.
            if let Some(skip) = update.skip {
                let _ = self.step.f_sub_(skip)?;
            }
            let moments = self.exp_avg.buffers_mut().iter_mut().zip(self.exp_avg_sq.buffers_mut());
            for (group, (exp_avg, exp_avg_sq)) in params.groups_mut().iter_mut().zip(moments) {
                let moments = AdamwMoments { exp_avg, exp_avg_sq, step: &self.step };
                fused_adamw(&mut group.values, &group.grads, moments, update, group.weight_decay, self.settings)?;
            }
            Ok(())
        })
    }

    fn state(&self) -> Result<Vec<(String, Tensor)>> {
        let mut named = self.exp_avg.named()?;
        named.extend(self.exp_avg_sq.named()?);
        named.push(("step".to_owned(), self.step.shallow_clone()));
        Ok(named)
    }

    fn load_state(&mut self, saved: Vec<(String, Tensor)>) -> Result<()> {
        no_grad(|| restore(self.state()?, saved))
    }
}
