//! The cross entropy of a batch as a term of the loss.

use super::loss::cross_entropy_sum;
use super::step::Step;
use super::term::Term;
use crate::data::Batch;
use crate::error::Result;

/// Cross entropy of the model in training on the labels of `batch`, as a term of the loss, with the accuracy. Runs one
/// forward pass in train mode ([`Step::train`]). `label_smoothing` is in [0, 1).
pub fn cross_entropy_term(
    step: &Step<'_>,
    batch: &Batch,
    name: &'static str,
    weight: f64,
    label_smoothing: f64,
) -> Result<Term> {
    let logits = step.train(batch)?;
    let sum = cross_entropy_sum(&logits, &batch.labels, label_smoothing);
    Ok(Term::over(batch, name, weight, sum).with_accuracy(&logits, batch))
}
