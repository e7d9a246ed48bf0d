//! How far an unlearned model is from the retrained one, as a single number: the mean absolute difference of a few
//! metrics. Metrics and gaps are fractions in 0..=1; lower is better, 0 is as good as retraining.

use super::metrics::Metrics;

/// The reported gaps and the metrics each is the mean over. `_eval` takes val for the unseen samples instead of test.
pub const GAPS: [(&str, &[&str]); 6] = [
    ("average_gap", &["acc_retain", "acc_test", "acc_forget", "rmia_acc", "rmia_auc"]),
    ("average_gap_auc", &["acc_retain", "acc_test", "acc_forget", "rmia_auc"]),
    ("average_gap_test", &["rmia_auc", "acc_test"]),
    ("average_gap_eval", &["acc_retain", "acc_eval", "acc_forget", "rmia_eval_acc", "rmia_eval_auc"]),
    ("average_gap_eval_auc", &["acc_retain", "acc_eval", "acc_forget", "rmia_eval_auc"]),
    ("average_gap_eval_test", &["rmia_eval_auc", "acc_eval"]),
];

/// Mean of |model - retrained| over `keys`; `None` if there are none or if either side lacks one.
pub fn average_gap(model: &Metrics, retrained: &Metrics, keys: &[&str]) -> Option<f64> {
    let gap = |key: &&str| Some((model.get(key)? - retrained.get(key)?).abs());
    let gaps = keys.iter().map(gap).collect::<Option<Vec<f64>>>()?;
    (!gaps.is_empty()).then(|| gaps.iter().sum::<f64>() / gaps.len() as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gap_needs_all_its_metrics_on_both_sides() {
        let model = Metrics::from_iter([("a", 0.5), ("b", 0.25)]);
        let retrained = Metrics::from_iter([("a", 0.75)]);
        assert_eq!(average_gap(&model, &retrained, &["a"]), Some(0.25));
        assert_eq!(average_gap(&model, &retrained, &["a", "b"]), None);
        assert_eq!(average_gap(&model, &retrained, &[]), None);
    }
}
