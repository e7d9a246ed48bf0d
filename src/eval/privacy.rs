//! Membership inference: attacks that try to distinguish forget samples (members) from samples that no model saw.
//!
//! Each attack gives a sample a score, larger for a more likely member. [`measure`] turns the scores of members and
//! nonmembers into the strength of the attack. After good unlearning it equals that of the retrained model, near
//! guessing.

use super::logits::{Prediction, Predictions};
use super::roc::Roc;

/// Lower bound of probabilities before a logarithm, so that logarithms stay finite in float32.
const MIN_PROBABILITY: f32 = 1e-12;

/// False positive rates at which the true positive rate is reported, with their names.
pub const LOW_FPRS: [(f64, &str); 2] = [(0.01, "tpr_at_fpr_0.01"), (0.001, "tpr_at_fpr_0.001")];

/// Attacks that compute a score from the output of the attacked model alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ScoreAttack {
    /// log p(y|x), minus the cross-entropy, in nats (Yeom et al. 2018, arXiv 1709.01604).
    Loss,
    /// p(y|x) (confidence of Salem et al. 2019, arXiv 1806.01246, taken at the true class).
    Confidence,
    /// Minus the Shannon entropy of the prediction, in nats (Salem et al. 2019, arXiv 1806.01246).
    Entropy,
    /// Minus the entropy after p(y|x) became 1 - p(y|x), in nats: the measure of the Python benchmark, kept for
    /// comparison. Confident right and confident wrong predictions get the same score; [`ScoreAttack::Mentr`] corrects
    /// this.
    ModifiedEntropy,
    /// 1 if the prediction is right, else 0 (Yeom et al. 2018, arXiv 1709.01604, with the 0/1 loss).
    Correctness,
    /// Minus the published modified entropy, in nats (Song and Mittal 2021, arXiv 2003.10595):
    /// (1 - p_y) log p_y + sum over the other classes of p log(1 - p). Grows with p_y, and falls as another class
    /// becomes more likely.
    Mentr,
}

impl ScoreAttack {
    /// The attacks of the Python benchmark in its order.
    pub const BENCHMARK: [ScoreAttack; 5] = [
        ScoreAttack::Loss,
        ScoreAttack::Confidence,
        ScoreAttack::Entropy,
        ScoreAttack::ModifiedEntropy,
        ScoreAttack::Correctness,
    ];

    /// Start of the attack's metric keys.
    pub fn name(self) -> &'static str {
        match self {
            ScoreAttack::Loss => "smia_loss",
            ScoreAttack::Confidence => "smia_confidence",
            ScoreAttack::Entropy => "smia_entropy",
            ScoreAttack::ModifiedEntropy => "smia_modified_entropy",
            ScoreAttack::Correctness => "smia_correctness",
            ScoreAttack::Mentr => "smia_mentr",
        }
    }

    /// N scores, larger for a more likely member. NaN if the logits are NaN.
    pub fn scores(self, predictions: &Predictions) -> Vec<f64> {
        predictions.iter().map(|prediction| f64::from(self.score(&prediction))).collect()
    }

    fn score(self, x: &Prediction) -> f32 {
        match self {
            ScoreAttack::Loss => x.label_log_probability(),
            ScoreAttack::Confidence => x.label_probability(),
            ScoreAttack::Entropy => sum_over_classes(x, |p, _| p * clipped_ln(p)),
            ScoreAttack::ModifiedEntropy => sum_over_classes(x, |p, is_label| {
                let p = if is_label { 1.0 - p } else { p };
                p * clipped_ln(p)
            }),
            ScoreAttack::Correctness => f32::from(u8::from(x.is_correct())),
            ScoreAttack::Mentr => {
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

/// Sum of term(probability, class is the label) over the classes.
fn sum_over_classes(x: &Prediction, term: impl Fn(f32, bool) -> f32) -> f32 {
    let terms = x.probabilities.iter().enumerate().map(|(class, p)| f64::from(term(*p, class == x.label)));
    terms.sum::<f64>() as f32
}

/// Natural logarithm, of p raised to at least [`MIN_PROBABILITY`].
fn clipped_ln(p: f32) -> f32 {
    p.clamp(MIN_PROBABILITY, 1.0).ln()
}

/// Start of the metric keys of [`rmia_scores`].
pub const RMIA: &str = "rmia";

/// RMIA scores with references that never saw the members (Zarifzadeh et al. 2024, arXiv 2312.03262, offline, without
/// the comparison against population samples): log p(y|x) under the model minus the log of its mean under the
/// references, in nats. The references remove the difficulty of the sample from the score.
///
/// `references` holds N true-label probabilities per reference model. All scores are NaN if there is no reference, or
/// if one of them has another number of samples.
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

/// Strength of an attack: its power to separate members from nonmembers. All NaN if either group has no finite score.
#[derive(Debug, Clone, Copy)]
pub struct AttackStrength {
    /// See [`Roc::accuracy_at_best`].
    pub accuracy: f64,
    /// See [`Roc::balanced_accuracy_at_best`].
    pub balanced_accuracy: f64,
    /// See [`Roc::auc`].
    pub auc: f64,
    /// See [`Roc::auc_standard_error`].
    pub auc_standard_error: f64,
    /// See [`Roc::jmax_abs`].
    pub jmax_abs: f64,
    /// See [`Roc::tpr_at_fpr`]; in the order of [`LOW_FPRS`].
    pub tpr_at_low_fprs: [f64; LOW_FPRS.len()],
}

/// Strength of an attack from its scores of members and nonmembers. Scores that are not finite are dropped.
pub fn measure(members: &[f64], nonmembers: &[f64]) -> AttackStrength {
    match Roc::new(members, nonmembers) {
        Some(roc) => AttackStrength {
            accuracy: roc.accuracy_at_best(),
            balanced_accuracy: roc.balanced_accuracy_at_best(),
            auc: roc.auc(),
            auc_standard_error: roc.auc_standard_error(),
            jmax_abs: roc.jmax_abs(),
            tpr_at_low_fprs: LOW_FPRS.map(|(fpr, _)| roc.tpr_at_fpr(fpr)),
        },
        None => AttackStrength {
            accuracy: f64::NAN,
            balanced_accuracy: f64::NAN,
            auc: f64::NAN,
            auc_standard_error: f64::NAN,
            jmax_abs: f64::NAN,
            tpr_at_low_fprs: [f64::NAN; LOW_FPRS.len()],
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::eval::Logits;

    fn score(attack: ScoreAttack, probabilities: [f32; 3], label: i64) -> f64 {
        let logits = Logits { values: probabilities.map(f32::ln).to_vec(), labels: vec![label], num_classes: 3 };
        attack.scores(&logits.predict())[0]
    }

    #[test]
    fn published_modified_entropy_by_hand() {
        let expected = 0.4 * 0.6f64.ln() + 0.3 * 0.7f64.ln() + 0.1 * 0.9f64.ln();
        assert!((score(ScoreAttack::Mentr, [0.3, 0.6, 0.1], 1) - expected).abs() < 1e-6);
    }

    #[test]
    fn only_the_published_modified_entropy_separates_right_from_wrong() {
        let (sure, unsure) = ([0.98, 0.01, 0.01], [0.4, 0.3, 0.3]);
        assert!(score(ScoreAttack::Mentr, sure, 0) > score(ScoreAttack::Mentr, unsure, 0));
        assert!(score(ScoreAttack::Mentr, unsure, 0) > score(ScoreAttack::Mentr, sure, 1));
        assert!(score(ScoreAttack::ModifiedEntropy, sure, 0) > score(ScoreAttack::ModifiedEntropy, unsure, 0));
        assert!(score(ScoreAttack::ModifiedEntropy, sure, 1) > score(ScoreAttack::ModifiedEntropy, unsure, 1));
    }

    #[test]
    fn saturated_predictions_have_finite_scores() {
        for attack in ScoreAttack::BENCHMARK.into_iter().chain([ScoreAttack::Mentr]) {
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
}
