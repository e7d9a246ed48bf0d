//! Warnings about metrics that look like over-unlearning.

use super::metric_map::Metrics;

/// An AUC counts as over-unlearning if it is this far below guessing and below the retrained model.
const OVER_UNLEARNING_MARGIN: f64 = 0.1;

/// Warnings about attacks that point the wrong way. An AUC far below 0.5 means that the model knows forget samples
/// *less* than unseen ones, which exposes them as well. One sentence per attack; empty if no AUC is that low.
///
/// The limit is 0.5, or the AUC of the retrained model if that is lower (after a whole class was forgotten, say). The
/// AUC must be below it by more than a margin, and by more than two of its standard errors if they are known.
pub fn over_unlearning_flags(metrics: &Metrics, retrained: Option<&Metrics>) -> Vec<String> {
    let mut flags = Vec::new();
    for (key, auc) in metrics.iter().filter(|(key, _)| key.ends_with("_auc") && !key.starts_with("average_gap")) {
        let expected = retrained.and_then(|retrained| retrained.get(key)).filter(|auc| auc.is_finite());
        let margin = OVER_UNLEARNING_MARGIN.max(2.0 * metrics.get(&format!("{key}_se")).unwrap_or(0.0));
        if auc < expected.unwrap_or(0.5).min(0.5) - margin {
            let compared = expected.map(|auc| format!(", {auc:.3} for the retrained model")).unwrap_or_default();
            flags.push(format!(
                "{key} is {auc:.3}, far below 0.5{compared}: over-unlearning, forget samples stand out as unknown"
            ));
        }
    }
    flags
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_auc_far_below_guessing_and_below_the_retrained_model_is_flagged() {
        let metrics = |auc: f64, se: f64| Metrics::from_iter([("rmia_auc", auc), ("rmia_auc_se", se)]);
        assert!(over_unlearning_flags(&metrics(0.45, 0.01), None).is_empty());
        assert!(over_unlearning_flags(&metrics(0.30, 0.15), None).is_empty());
        let flags = over_unlearning_flags(&metrics(0.30, 0.02), None);
        assert_eq!(flags.len(), 1);
        assert!(flags[0].starts_with("rmia_auc is 0.300"));
        assert!(over_unlearning_flags(&metrics(0.30, 0.02), Some(&metrics(0.31, 0.02))).is_empty());
        assert!(over_unlearning_flags(&metrics(0.45, 0.02), Some(&metrics(0.70, 0.02))).is_empty());
        assert_eq!(over_unlearning_flags(&metrics(0.10, 0.02), Some(&metrics(0.31, 0.02))).len(), 1);
    }
}
