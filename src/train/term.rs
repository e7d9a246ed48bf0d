//! Terms of the loss. Each holds a sum over this rank's samples, and the number of samples over all ranks, which
//! divides it.

use tch::Tensor;

use crate::data::Batch;
use crate::error::{Error, ErrorKind, Result};

/// One term of the loss: `weight * sum / count`, added up over the ranks.
pub struct Term {
    /// Name in the log, `train/<name>`.
    pub name: &'static str,
    pub weight: f64,
    /// Scalar: sum over this rank's samples of the micro-step.
    pub sum: Tensor,
    /// Samples of the whole optimizer step, over all ranks: the divisor of the gradient.
    pub step_count: usize,
    /// Samples of this micro-step over all ranks: the divisor of the logged mean.
    pub count: usize,
    /// This rank's samples of this micro-step.
    pub local_count: usize,
    /// Logits [n, K] and labels int64 [n] of this rank, if the accuracy is logged.
    pub predictions: Option<(Tensor, Tensor)>,
}

impl Term {
    /// A sum over the samples of `batch`.
    pub fn over(batch: &Batch, name: &'static str, weight: f64, sum: Tensor) -> Self {
        Term {
            name,
            weight,
            sum,
            step_count: batch.step_count,
            count: batch.global.len(),
            local_count: batch.shard.len(),
            predictions: None,
        }
    }

    /// Also logs the accuracy of these logits on the labels of the batch.
    pub fn with_accuracy(mut self, logits: &Tensor, batch: &Batch) -> Self {
        self.predictions = Some((logits.detach(), batch.labels.shallow_clone()));
        self
    }
}

/// This rank's part of the loss, a scalar. The all-reduce of its gradients gives the gradient of the step.
///
/// # Errors
/// `Bug` without terms.
pub fn objective(terms: &[Term]) -> Result<Tensor> {
    terms
        .iter()
        .map(|term| &term.sum * (term.weight / term.step_count as f64))
        .reduce(|a, b| a + b)
        .ok_or_else(|| Error::new(ErrorKind::Bug, "a step without loss terms"))
}
