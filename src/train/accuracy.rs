//! Accuracy of a training, from counts that ranks and batches may add.

use crate::error::{Error, Result};

/// Counts of correct predictions over all batches added so far. Both accuracies are in 0..=1; higher is better.
///
/// Several ranks all-reduce their [`counts`](Self::counts).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccuracyCounts {
    /// 3 x K: correct predictions, labels, predictions of each class.
    counts: Vec<i64>,
}

impl AccuracyCounts {
    pub fn new(num_classes: usize) -> Self {
        AccuracyCounts { counts: vec![0; 3 * num_classes] }
    }

    /// The sum of the [`counts`](Self::counts) of several ranks.
    pub fn from_counts(counts: Vec<i64>) -> Self {
        AccuracyCounts { counts }
    }

    /// 3 x K counts that may be added element by element: correct, labels, predictions.
    pub fn counts(&self) -> &[i64] {
        &self.counts
    }

    /// Adds a batch: predicted and true class of each sample.
    ///
    /// # Errors
    /// A prediction or a label is not a class. Nothing is added then.
    pub fn add(&mut self, predictions: &[i64], labels: &[i64]) -> Result<()> {
        let num_classes = self.counts.len() / 3;
        let is_class = |value: &&i64| usize::try_from(**value).is_ok_and(|class| class < num_classes);
        if let Some(wrong) = predictions.iter().chain(labels).find(|value| !is_class(value)) {
            return Err(Error::missing(format!("accuracy: class {wrong} is not in 0..{num_classes}"))
                .hint("set data.num_classes to the number of classes of the data set"));
        }
        for (&predicted, &label) in predictions.iter().zip(labels) {
            let (predicted, label) = (predicted as usize, label as usize);
            self.counts[label] += i64::from(predicted == label);
            self.counts[num_classes + label] += 1;
            self.counts[2 * num_classes + predicted] += 1;
        }
        Ok(())
    }

    /// The share of samples whose class is predicted, as in the results of an evaluation. NaN before the first sample.
    pub fn over_samples(&self) -> f64 {
        let (correct, rest) = self.counts.split_at(self.counts.len() / 3);
        let labelled = &rest[..correct.len()];
        correct.iter().sum::<i64>() as f64 / labelled.iter().sum::<i64>() as f64
    }

    /// The mean recall of the classes that occur among labels or predictions: the accuracy that the Python program logs.
    /// NaN before the first sample.
    ///
    /// A class that is predicted but never true counts with recall 0. So this is low where only a few classes are true,
    /// as among forgotten samples, and some predictions are wrong.
    pub fn over_classes(&self) -> f64 {
        let (correct, rest) = self.counts.split_at(self.counts.len() / 3);
        let (labelled, predicted) = rest.split_at(correct.len());
        let occurs = |class: &usize| labelled[*class] + predicted[*class] > 0;
        let num_occurring = (0..correct.len()).filter(occurs).count();
        if num_occurring == 0 {
            return f64::NAN;
        }
        // Term by term in float32, as in the Python benchmark, so that the logged curves of both are equal.
        let recall_term = |class: usize| correct[class] as f32 / labelled[class].max(1) as f32 / num_occurring as f32;
        f64::from((0..correct.len()).filter(occurs).map(recall_term).sum::<f32>())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranks_may_add_their_counts() {
        let (mut all, mut first, mut second) = (AccuracyCounts::new(4), AccuracyCounts::new(4), AccuracyCounts::new(4));
        all.add(&[0, 1, 2, 2, 1], &[0, 2, 2, 1, 1]).unwrap();
        first.add(&[0, 1], &[0, 2]).unwrap();
        second.add(&[2, 2, 1], &[2, 1, 1]).unwrap();
        let summed = first.counts().iter().zip(second.counts()).map(|(a, b)| a + b).collect();
        assert_eq!(AccuracyCounts::from_counts(summed), all);
        assert!((all.over_classes() - 2.0 / 3.0).abs() < 1e-7);
        assert!((all.over_samples() - 3.0 / 5.0).abs() < 1e-15);
    }

    #[test]
    fn the_accuracy_of_no_samples_is_nan() {
        let none = AccuracyCounts::new(3);
        assert!(none.over_classes().is_nan() && none.over_samples().is_nan());
    }

    #[test]
    fn a_label_outside_the_classes_is_refused_and_leaves_the_counts_alone() {
        let mut accuracy = AccuracyCounts::new(3);
        assert!(accuracy.add(&[0, 1], &[0, 3]).unwrap_err().message().contains("class 3 is not in 0..3"));
        assert_eq!(accuracy, AccuracyCounts::new(3));
    }
}
