//! Membership inference: can an attacker tell forget samples (members) from samples that no model saw?
//!
//! Each attack gives a sample a score, larger for a more likely member; [`measure`] turns the scores of members and
//! nonmembers into numbers. After good unlearning they are those of the retrained model, near guessing.

use super::logits::{Prediction, Predictions};
use super::metrics::Metrics;
use super::roc::Roc;

/// Probabilities below are raised to this before a logarithm: logs stay finite in float32.
const MIN_PROBABILITY: f32 = 1e-12;

/// False positive rates at which the true positive rate is reported, with their names.
pub const LOW_FPRS: [(f64, &str); 2] = [(0.01, "tpr_at_fpr_0.01"), (0.001, "tpr_at_fpr_0.001")];

/// The attacks that look at one model only.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Attack {
    /// log p(y|x), minus the cross-entropy, in nats (Yeom et al. 2018, arXiv 1709.01604).
    Loss,
    /// p(y|x) (confidence of Salem et al. 2019, arXiv 1806.01246, taken at the true class).
    Confidence,
    /// Minus the Shannon entropy of the prediction, in nats (Salem et al. 2019, arXiv 1806.01246).
    Entropy,
    /// Minus the entropy after p(y|x) became 1 - p(y|x), in nats: the measure of the Python benchmark, kept for
    /// comparison. Being sure and right scores like being sure and wrong; [`Attack::Mentr`] mends that.
    ModifiedEntropy,
    /// 1 if the prediction is right, else 0 (Yeom et al. 2018, arXiv 1709.01604, with the 0/1 loss).
    Correctness,
    /// Minus the published modified entropy, in nats (Song and Mittal 2021, arXiv 2003.10595):
    /// (1 - p_y) log p_y + sum over the other classes of p log(1 - p). Grows with p_y alone and with nothing else sure.
    Mentr,
}

impl Attack {
    /// The attacks of the Python benchmark in its order.
    pub const BENCHMARK: [Attack; 5] =
        [Attack::Loss, Attack::Confidence, Attack::Entropy, Attack::ModifiedEntropy, Attack::Correctness];

    /// As metric keys start.
    pub fn name(self) -> &'static str {
        match self {
            Attack::Loss => "smia_loss",
            Attack::Confidence => "smia_confidence",
            Attack::Entropy => "smia_entropy",
            Attack::ModifiedEntropy => "smia_modified_entropy",
            Attack::Correctness => "smia_correctness",
            Attack::Mentr => "smia_mentr",
        }
    }

    /// N scores, larger for a more likely member. NaN where the logits are.
    pub fn scores(self, predictions: &Predictions) -> Vec<f64> {
        predictions.iter().map(|prediction| f64::from(self.score(&prediction))).collect()
    }

    fn score(self, x: &Prediction) -> f32 {
        match self {
            Attack::Loss => x.label_log_probability(),
            Attack::Confidence => x.label_probability(),
            Attack::Entropy => sum_over_classes(x, |p, _| p * clipped_ln(p)),
            Attack::ModifiedEntropy => sum_over_classes(x, |p, is_label| {
                let p = if is_label { 1.0 - p } else { p };
                p * clipped_ln(p)
            }),
            Attack::Correctness => f32::from(u8::from(x.is_correct())),
            Attack::Mentr => {
                sum_over_classes(
                    x,
                    |p, is_label| {
                        if is_label { (1.0 - p) * clipped_ln(p) } else { p * clipped_ln(1.0 - p) }
                    },
                )
            }
        }
    }
}

fn sum_over_classes(x: &Prediction, term: impl Fn(f32, bool) -> f32) -> f32 {
    let terms = x.probabilities.iter().enumerate().map(|(class, p)| f64::from(term(*p, class == x.label)));
    terms.sum::<f64>() as f32
}

fn clipped_ln(p: f32) -> f32 {
    p.clamp(MIN_PROBABILITY, 1.0).ln()
}

/// As the metric keys of [`rmia_scores`] start.
pub const RMIA: &str = "rmia";

/// RMIA scores with references that never saw the members (Zarifzadeh et al. 2024, arXiv 2312.03262, offline, without
/// the comparison against population samples): log p(y|x) under the model minus the log of its mean under the
/// references, in nats. Takes how hard a sample is out of how well the model knows it.
///
/// `references` holds N true-label probabilities per reference model. All scores are NaN if there is no reference, or
/// if one is not about N samples.
pub fn rmia_scores(predictions: &Predictions, references: &[Vec<f32>]) -> Vec<f64> {
    if references.is_empty() || references.iter().any(|reference| reference.len() != predictions.len()) {
        return vec![f64::NAN; predictions.len()];
    }
    let mean_of_references = |sample: usize| {
        let sum: f64 = references.iter().map(|reference| f64::from(reference[sample])).sum();
        (sum / references.len() as f64) as f32
    };
    let score = |(sample, prediction): (usize, Prediction)| {
        f64::from(clipped_ln(prediction.label_probability()) - clipped_ln(mean_of_references(sample)))
    };
    predictions.iter().enumerate().map(score).collect()
}

/// How well an attack tells members from nonmembers. All NaN where no finite score of either is left.
#[derive(Debug, Clone, Copy)]
pub struct Strength {
    /// See [`Roc::accuracy_at_best`].
    pub accuracy: f64,
    /// See [`Roc::auc`].
    pub auc: f64,
    /// See [`Roc::auc_standard_error`].
    pub auc_standard_error: f64,
    /// See [`Roc::jmax_abs`].
    pub jmax_abs: f64,
    /// See [`Roc::tpr_at_fpr`]; in the order of [`LOW_FPRS`].
    pub tpr_at_low_fprs: [f64; LOW_FPRS.len()],
}

/// Scores of members and nonmembers to attack strength; scores that are not finite are dropped.
pub fn measure(members: &[f64], nonmembers: &[f64]) -> Strength {
    match Roc::new(members, nonmembers) {
        Some(roc) => Strength {
            accuracy: roc.accuracy_at_best(),
            auc: roc.auc(),
            auc_standard_error: roc.auc_standard_error(),
            jmax_abs: roc.jmax_abs(),
            tpr_at_low_fprs: LOW_FPRS.map(|(fpr, _)| roc.tpr_at_fpr(fpr)),
        },
        None => Strength {
            accuracy: f64::NAN,
            auc: f64::NAN,
            auc_standard_error: f64::NAN,
            jmax_abs: f64::NAN,
            tpr_at_low_fprs: [f64::NAN; LOW_FPRS.len()],
        },
    }
}

/// How far below guessing (and below the retrained model) an AUC must be to count as over-unlearning.
const OVER_UNLEARNING_MARGIN: f64 = 0.1;

/// Warnings about attacks that point the wrong way: an AUC far below 0.5 says that forget samples stand out as
/// *less* known than unseen ones, which gives them away as well. One sentence per attack; empty if all is well.
///
/// Where the retrained model is as low (a whole class was forgotten, say), that is what forgetting looks like and no
/// warning is given; nor where the standard error, if known, does not rule out chance at two of them.
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
    use crate::eval::Logits;

    fn score(attack: Attack, probabilities: [f32; 3], label: i64) -> f64 {
        let logits = Logits { values: probabilities.map(f32::ln).to_vec(), labels: vec![label], num_classes: 3 };
        attack.scores(&logits.predict())[0]
    }

    #[test]
    fn published_modified_entropy_by_hand() {
        let expected = 0.4 * 0.6f64.ln() + 0.3 * 0.7f64.ln() + 0.1 * 0.9f64.ln();
        assert!((score(Attack::Mentr, [0.3, 0.6, 0.1], 1) - expected).abs() < 1e-6);
    }

    #[test]
    fn published_modified_entropy_tells_right_from_wrong_and_the_benchmarks_does_not() {
        let (sure, unsure) = ([0.98, 0.01, 0.01], [0.4, 0.3, 0.3]);
        assert!(score(Attack::Mentr, sure, 0) > score(Attack::Mentr, unsure, 0));
        assert!(score(Attack::Mentr, unsure, 0) > score(Attack::Mentr, sure, 1));
        assert!(score(Attack::ModifiedEntropy, sure, 0) > score(Attack::ModifiedEntropy, unsure, 0));
        assert!(score(Attack::ModifiedEntropy, sure, 1) > score(Attack::ModifiedEntropy, unsure, 1));
    }

    #[test]
    fn saturated_predictions_have_finite_scores() {
        for attack in Attack::BENCHMARK.into_iter().chain([Attack::Mentr]) {
            let logits = Logits { values: vec![900.0, 0.0, -900.0], labels: vec![2], num_classes: 3 };
            assert!(attack.scores(&logits.predict())[0].is_finite(), "{attack:?}");
        }
    }

    #[test]
    fn references_about_other_samples_give_no_score() {
        let logits = Logits { values: vec![0.0; 6], labels: vec![0, 1], num_classes: 3 };
        assert!(rmia_scores(&logits.predict(), &[vec![0.5, 0.5], vec![0.5]]).iter().all(|score| score.is_nan()));
        assert!(rmia_scores(&logits.predict(), &[]).iter().all(|score| score.is_nan()));
    }

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
