//! Logits of one model on one part of the data, and the predictions that follow from them.
//!
//! Letters: N samples, K classes. Probabilities are float32, as in every published number of the benchmark: scores tie
//! if they are equal in float32. Sums over classes run in float64 and are rounded once, so the result does not depend
//! on the position of the label in the row.

use crate::error::{Error, Result};

/// N rows of K logits, and the N true classes.
#[derive(Debug, Clone, PartialEq)]
pub struct Logits {
    /// N x K, row-major.
    pub values: Vec<f32>,
    /// N true classes, each in `0..num_classes`.
    pub labels: Vec<i64>,
    /// K.
    pub num_classes: usize,
}

impl Logits {
    /// Checks shapes and labels, which every metric relies on.
    ///
    /// # Errors
    /// `Missing` if `values` is not N x K, or if a label is not a class.
    pub fn new(values: Vec<f32>, labels: Vec<i64>, num_classes: usize) -> Result<Self> {
        if values.len() != labels.len() * num_classes {
            return Err(Error::missing(format!(
                "logits: {} values do not make {} rows of {num_classes} classes",
                values.len(),
                labels.len()
            ))
            .hint("the logits come from another data set or from a model with another number of classes"));
        }
        let is_class = |label: &i64| usize::try_from(*label).is_ok_and(|class| class < num_classes);
        if let Some(row) = labels.iter().position(|label| !is_class(label)) {
            let label = labels[row];
            return Err(Error::missing(format!("logits: label {label} of sample {row} is not in 0..{num_classes}"))
                .hint("set data.num_classes to the number of classes of the data set"));
        }
        Ok(Logits { values, labels, num_classes })
    }

    /// Logits of no samples.
    pub fn empty(num_classes: usize) -> Self {
        Logits { values: Vec::new(), labels: Vec::new(), num_classes }
    }

    /// N.
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    pub fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }

    /// The K logits of one sample.
    pub fn row(&self, sample: usize) -> &[f32] {
        &self.values[sample * self.num_classes..][..self.num_classes]
    }

    /// The class with the largest logit; see [`argmax`].
    pub fn predicted_class(&self, sample: usize) -> usize {
        argmax(self.row(sample))
    }

    /// Computes the softmax of every row, once for all metrics.
    pub fn predict(&self) -> Predictions<'_> {
        let mut probabilities = Vec::with_capacity(self.values.len());
        for sample in 0..self.len() {
            softmax_into(self.row(sample), &mut probabilities);
        }
        Predictions { logits: self, probabilities }
    }

    /// p(y|x) of every sample, N values: the only numbers of a reference model that RMIA needs.
    pub fn label_probabilities(&self) -> Vec<f32> {
        let mut row = Vec::with_capacity(self.num_classes);
        let mut of_label = |sample: usize| {
            row.clear();
            softmax_into(self.row(sample), &mut row);
            row[self.labels[sample] as usize]
        };
        (0..self.len()).map(&mut of_label).collect()
    }
}

/// Logits with their softmax.
#[derive(Debug, Clone)]
pub struct Predictions<'a> {
    logits: &'a Logits,
    /// N x K, row-major.
    probabilities: Vec<f32>,
}

impl<'a> Predictions<'a> {
    /// N.
    pub fn len(&self) -> usize {
        self.logits.len()
    }

    pub fn is_empty(&self) -> bool {
        self.logits.is_empty()
    }

    /// Iterates over the samples in data set order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = Prediction<'_>> {
        (0..self.len()).map(|sample| Prediction {
            logits: self.logits.row(sample),
            probabilities: &self.probabilities[sample * self.logits.num_classes..][..self.logits.num_classes],
            label: self.logits.labels[sample] as usize,
        })
    }
}

/// Output of the model for one sample.
#[derive(Debug, Clone, Copy)]
pub struct Prediction<'a> {
    /// K logits.
    pub logits: &'a [f32],
    /// K probabilities, summing to one.
    pub probabilities: &'a [f32],
    /// The true class.
    pub label: usize,
}

impl Prediction<'_> {
    /// p(y|x).
    pub fn label_probability(&self) -> f32 {
        self.probabilities[self.label]
    }

    /// log p(y|x) in nats, computed from the logits: finite even if the probability rounds to zero.
    pub fn label_log_probability(&self) -> f32 {
        log_softmax(self.logits, self.label)
    }

    pub fn is_correct(&self) -> bool {
        argmax(self.logits) == self.label
    }
}

/// Position of the largest value, the first one among equals. NaN counts as the largest, as in torch.
pub fn argmax(row: &[f32]) -> usize {
    let mut best = 0;
    for (class, value) in row.iter().enumerate() {
        if *value > row[best] || (value.is_nan() && !row[best].is_nan()) {
            best = class;
        }
    }
    best
}

/// Appends exp(z - max) / sum to `out`. A row with a NaN or +inf becomes all NaN.
fn softmax_into(row: &[f32], out: &mut Vec<f32>) {
    let start = out.len();
    let largest = largest(row);
    out.extend(row.iter().map(|logit| (logit - largest).exp()));
    let exponentials = &mut out[start..];
    let sum: f64 = exponentials.iter().map(|value| f64::from(*value)).sum();
    for value in exponentials {
        *value = (f64::from(*value) / sum) as f32;
    }
}

/// log softmax of one class: (z - max) - log sum exp(z - max).
fn log_softmax(row: &[f32], class: usize) -> f32 {
    let largest = largest(row);
    let sum: f64 = row.iter().map(|logit| f64::from((logit - largest).exp())).sum();
    (f64::from(row[class] - largest) - sum.ln()) as f32
}

/// The largest logit; NaN is ignored.
fn largest(row: &[f32]) -> f32 {
    row.iter().copied().fold(f32::NEG_INFINITY, f32::max)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn huge_logits_neither_overflow_nor_lose_the_log() {
        let logits = Logits { values: vec![3000.0, 0.0, -3000.0], labels: vec![2], num_classes: 3 };
        let predictions = logits.predict();
        let prediction = predictions.iter().next().unwrap();
        assert_eq!(prediction.probabilities, [1.0, 0.0, 0.0]);
        assert_eq!(prediction.label_log_probability(), -6000.0);
        assert_eq!(logits.label_probabilities(), [0.0]);
    }

    #[test]
    fn a_row_with_a_nan_is_nan_everywhere_and_predicts_the_nan() {
        let logits = Logits { values: vec![9.0, f32::NAN, 1.0], labels: vec![0], num_classes: 3 };
        assert!(logits.predict().iter().next().unwrap().probabilities.iter().all(|p| p.is_nan()));
        assert_eq!(logits.predicted_class(0), 1);
    }

    #[test]
    fn the_first_of_equal_logits_is_predicted() {
        assert_eq!(argmax(&[1.0, 2.0, 2.0]), 1);
        assert_eq!(argmax(&[0.0; 4]), 0);
    }

    #[test]
    fn rows_and_labels_must_fit_the_number_of_classes() {
        assert!(Logits::new(vec![0.0; 6], vec![0, 2], 3).is_ok());
        assert!(Logits::new(vec![0.0; 5], vec![0, 2], 3).unwrap_err().message().contains("5 values"));
        assert!(Logits::new(vec![0.0; 6], vec![0, 3], 3).unwrap_err().message().contains("label 3 of sample 1"));
        assert!(Logits::new(vec![0.0; 6], vec![-1, 0], 3).unwrap_err().message().contains("label -1 of sample 0"));
    }
}
