//! Quality of predictions: accuracy and entropy.

use super::logits::Predictions;

/// Keeps log(0) finite in [`mean_entropy`].
const ENTROPY_EPSILON: f32 = 1e-10;

/// Fraction of samples whose true class has the largest logit, in 0..=1. Higher is better on retain, val and test; on
/// forget the aim is the value of the retrained model. NaN without samples.
pub fn accuracy(predictions: &Predictions) -> f64 {
    mean(predictions.iter().map(|prediction| f64::from(u8::from(prediction.is_correct()))))
}

/// Mean Shannon entropy of the predicted distributions, -sum p log p, in nats: 0 (certain) to log K (uniform). On
/// forget the aim is the value of the retrained model. NaN without samples.
pub fn mean_entropy(predictions: &Predictions) -> f64 {
    mean(predictions.iter().map(|prediction| {
        let terms = prediction.probabilities.iter().map(|p| f64::from(p * (p + ENTROPY_EPSILON).ln()));
        -terms.sum::<f64>()
    }))
}

/// Mean of the values. NaN without values.
pub(super) fn mean(values: impl ExactSizeIterator<Item = f64>) -> f64 {
    let count = values.len() as f64;
    values.sum::<f64>() / count
}
