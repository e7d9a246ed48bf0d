//! Macro accuracy, the accuracy in the training log: an average over classes.

use crate::error::{Error, Result};

/// Accuracy averaged over classes: the mean recall of the classes that occur among labels or predictions, over all
/// batches added so far. In 0..=1, higher is better. Training logs report it; every class has the same weight.
///
/// A class that is predicted but never true counts with recall 0. Several ranks all-reduce their
/// [`counts`](Self::counts).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MacroAccuracy {
    /// 3 x K: correct predictions, labels, predictions of each class.
    counts: Vec<i64>,
}

impl MacroAccuracy {
    pub fn new(num_classes: usize) -> Self {
        MacroAccuracy { counts: vec![0; 3 * num_classes] }
    }

    /// The accuracy of the summed [`counts`](Self::counts) of several ranks.
    pub fn from_counts(counts: Vec<i64>) -> Self {
        MacroAccuracy { counts }
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

    /// The mean recall. NaN before the first sample.
    pub fn value(&self) -> f64 {
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
        let (mut all, mut first, mut second) = (MacroAccuracy::new(4), MacroAccuracy::new(4), MacroAccuracy::new(4));
        all.add(&[0, 1, 2, 2, 1], &[0, 2, 2, 1, 1]).unwrap();
        first.add(&[0, 1], &[0, 2]).unwrap();
        second.add(&[2, 2, 1], &[2, 1, 1]).unwrap();
        let summed = first.counts().iter().zip(second.counts()).map(|(a, b)| a + b).collect();
        assert_eq!(MacroAccuracy::from_counts(summed), all);
        assert!((all.value() - 2.0 / 3.0).abs() < 1e-7);
    }

    #[test]
    fn the_accuracy_of_no_samples_is_nan() {
        assert!(MacroAccuracy::new(3).value().is_nan());
    }

    #[test]
    fn a_label_outside_the_classes_is_refused_and_leaves_the_counts_alone() {
        let mut accuracy = MacroAccuracy::new(3);
        assert!(accuracy.add(&[0, 1], &[0, 3]).unwrap_err().message().contains("class 3 is not in 0..3"));
        assert_eq!(accuracy, MacroAccuracy::new(3));
    }
}
