//! Distance of an unlearned model from the retrained one as a single number: the mean absolute difference of a few
//! metrics. Metrics and gaps are fractions in 0..=1; lower is better, 0 equals retraining.

use super::metric_map::Metrics;

/// Name of each reported gap, and the metrics that it averages. Gaps with `_eval` take val instead of test as unseen
/// samples.
pub const GAPS: [(&str, &[&str]); 6] = [
    ("average_gap", &["acc_retain", "acc_test", "acc_forget", "rmia_acc", "rmia_auc"]),
    ("average_gap_auc", &["acc_retain", "acc_test", "acc_forget", "rmia_auc"]),
    ("average_gap_test", &["rmia_auc", "acc_test"]),
    ("average_gap_eval", &["acc_retain", "acc_eval", "acc_forget", "rmia_eval_acc", "rmia_eval_auc"]),
    ("average_gap_eval_auc", &["acc_retain", "acc_eval", "acc_forget", "rmia_eval_auc"]),
    ("average_gap_eval_test", &["rmia_eval_auc", "acc_eval"]),
];

/// Mean of |model - retrained| over `keys`. `None` without keys, or if either model lacks one of the metrics.
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
