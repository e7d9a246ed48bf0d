//! Computes all metrics of a model from its logits, and defines their names and order.

use super::divergence::mean_jensen_shannon;
use super::gap::{GAPS, average_gap};
use super::logits::{Logits, Predictions};
use super::metric_map::Metrics;
use super::performance::{accuracy, mean_entropy};
use super::privacy::{AttackStrength, LOW_FPRS, RMIA, ScoreAttack, measure, rmia_scores};
use crate::error::{Error, Result};

/// Logits of one model on the parts of the data.
#[derive(Debug, Clone)]
pub struct ModelLogits {
    /// `None` if retain, the largest part, was not evaluated. Metrics that need it are then absent.
    pub retain: Option<Logits>,
    pub forget: Logits,
    pub val: Logits,
    pub test: Logits,
}

impl ModelLogits {
    /// Each part with its name in metric keys, in the order of the keys. The benchmark calls val `eval`.
    fn parts(&self) -> [(&'static str, Option<&Logits>); 4] {
        [
            ("retain", self.retain.as_ref()),
            ("eval", Some(&self.val)),
            ("test", Some(&self.test)),
            ("forget", Some(&self.forget)),
        ]
    }
}

/// p(y|x) under each reference model for the parts that RMIA uses: one list of N values per model.
#[derive(Debug, Clone, PartialEq)]
pub struct ReferenceProbabilities {
    pub forget: Vec<Vec<f32>>,
    pub val: Vec<Vec<f32>>,
    pub test: Vec<Vec<f32>>,
}

/// Checks that references and retrained model have as many samples and classes as `target`, for data from a cache
/// file. [`evaluate`] does not check this: it returns NaN if they differ.
///
/// # Errors
/// `Missing` for the first part that differs. The message has both sizes.
pub fn check_comparable(
    target: &ModelLogits,
    references: Option<&ReferenceProbabilities>,
    retrained: Option<&ModelLogits>,
) -> Result<()> {
    let mismatch = |what: &str, part: &str, got: String, wanted: String| {
        Err(Error::missing(format!("{what}: {part} has {got}, the evaluated model has {wanted}"))
            .hint("they were made from another data set or split: remove the evaluation cache and evaluate again"))
    };
    if let Some(references) = references {
        let parts = [
            ("forget", &references.forget, &target.forget),
            ("eval", &references.val, &target.val),
            ("test", &references.test, &target.test),
        ];
        for (part, models, logits) in parts {
            if models.is_empty() {
                return mismatch("references", part, "no model".into(), format!("{} samples", logits.len()));
            }
            if let Some(model) = models.iter().find(|model| model.len() != logits.len()) {
                let (got, wanted) = (format!("{} samples", model.len()), format!("{} samples", logits.len()));
                return mismatch("references", part, got, wanted);
            }
        }
    }
    if let Some(retrained) = retrained {
        for ((part, logits), (_, other)) in target.parts().into_iter().zip(retrained.parts()) {
            let (Some(logits), Some(other)) = (logits, other) else { continue };
            let shape = |logits: &Logits| format!("{} samples of {} classes", logits.len(), logits.num_classes);
            if shape(other) != shape(logits) {
                return mismatch("retrained model", part, shape(other), shape(logits));
            }
        }
    }
    Ok(())
}

/// All metrics of `target`: first the keys of the Python benchmark in its order, then ours.
///
/// | keys | unit | needs |
/// |---|---|---|
/// | `acc_<part>` | fraction | |
/// | `forget_entropy` | nats | |
/// | `forget_entropy_gap_retrained` | nats, signed | `retrained` |
/// | `divergence_<part>` | nats | `retrained` |
/// | `<attack>_acc`, `_auc`, `_jmax_abs`, `_tpr_at_fpr_0.01`, `_tpr_at_fpr_0.001` | fraction | RMIA: `references` |
/// | `<attack>_balanced_acc` | fraction | RMIA: `references` |
/// | `average_gap*` | fraction | both |
/// | `rmia_auc_se`, `rmia_eval_auc_se` | fraction | `references` |
///
/// Attacks distinguish forget from test samples, or forget from val samples if `_eval` follows the attack's name.
/// `references` and `retrained` must have the same samples as `target`, see [`check_comparable`]. `retrained` holds the
/// logits of the retrained model and the metrics that this function returned for them.
pub fn evaluate(
    target: &ModelLogits,
    references: Option<&ReferenceProbabilities>,
    retrained: Option<(&ModelLogits, &Metrics)>,
) -> Metrics {
    let retain = target.retain.as_ref().map(Logits::predict);
    let (val, test, forget) = (target.val.predict(), target.test.predict(), target.forget.predict());
    let parts = [("retain", retain.as_ref()), ("eval", Some(&val)), ("test", Some(&test)), ("forget", Some(&forget))];
    let mut metrics = Metrics::new();

    for (part, predictions) in parts {
        if let Some(predictions) = predictions {
            metrics.insert(format!("acc_{part}"), accuracy(predictions));
        }
    }
    let entropy = mean_entropy(&forget);
    metrics.insert("forget_entropy", entropy);

    if let Some((logits, retrained_metrics)) = retrained {
        if let Some(wanted) = retrained_metrics.get("forget_entropy") {
            metrics.insert("forget_entropy_gap_retrained", entropy - wanted);
        }
        for ((part, predictions), (_, other)) in parts.into_iter().zip(logits.parts()) {
            if let (Some(predictions), Some(other)) = (predictions, other) {
                metrics.insert(format!("divergence_{part}"), mean_jensen_shannon(predictions, &other.predict()));
            }
        }
    }

    let of_references =
        |unseen: fn(&ReferenceProbabilities) -> &[Vec<f32>]| references.map(|r| [r.forget.as_slice(), unseen(r)]);
    let pairs = [
        AttackPair { suffix: "", forget: &forget, unseen: &test, references: of_references(|r| &r.test) },
        AttackPair { suffix: "_eval", forget: &forget, unseen: &val, references: of_references(|r| &r.val) },
    ];
    let mut attacks = Vec::new();
    for pair in &pairs {
        attacks.extend(ScoreAttack::BENCHMARK.map(|attack| pair.attack(attack)));
        attacks.extend(pair.attack_by_rmia());
    }
    insert_strengths(&mut metrics, &attacks);

    if let Some((_, retrained_metrics)) = retrained {
        for (name, keys) in GAPS {
            if let Some(gap) = average_gap(&metrics, retrained_metrics, keys) {
                metrics.insert(name, gap);
            }
        }
    }

    // Metrics that the Python benchmark does not have.
    let mentr = pairs.map(|pair| pair.attack(ScoreAttack::Mentr));
    insert_strengths(&mut metrics, &mentr);
    attacks.extend(mentr);
    for (name, strength) in &attacks {
        metrics.insert(format!("{name}_balanced_acc"), strength.balanced_accuracy);
    }
    for (name, strength) in &attacks {
        for ((_, key), tpr) in LOW_FPRS.iter().zip(strength.tpr_at_low_fprs) {
            metrics.insert(format!("{name}_{key}"), tpr);
        }
    }
    for (name, strength) in attacks.iter().filter(|(name, _)| name.starts_with(RMIA)) {
        metrics.insert(format!("{name}_auc_se"), strength.auc_standard_error);
    }
    metrics
}

/// Members (forget) and nonmembers (unseen) of the attacks with the same suffix.
struct AttackPair<'a> {
    /// Follows the attack's name in metric keys.
    suffix: &'static str,
    forget: &'a Predictions<'a>,
    unseen: &'a Predictions<'a>,
    /// Reference probabilities of `forget` and of `unseen`.
    references: Option<[&'a [Vec<f32>]; 2]>,
}

impl AttackPair<'_> {
    /// Name and strength of an attack.
    fn attack(&self, attack: ScoreAttack) -> (String, AttackStrength) {
        let strength = measure(&attack.scores(self.forget), &attack.scores(self.unseen));
        (format!("{}{}", attack.name(), self.suffix), strength)
    }

    /// Name and strength of RMIA. None without references.
    fn attack_by_rmia(&self) -> Option<(String, AttackStrength)> {
        let [of_forget, of_unseen] = self.references?;
        let strength = measure(&rmia_scores(self.forget, of_forget), &rmia_scores(self.unseen, of_unseen));
        Some((format!("{RMIA}{}", self.suffix), strength))
    }
}

fn insert_strengths(metrics: &mut Metrics, attacks: &[(String, AttackStrength)]) {
    for (name, strength) in attacks {
        metrics.insert(format!("{name}_acc"), strength.accuracy);
        metrics.insert(format!("{name}_auc"), strength.auc);
        metrics.insert(format!("{name}_jmax_abs"), strength.jmax_abs);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn logits(num_samples: usize) -> Logits {
        let values = (0..3 * num_samples).map(|i| (i * i % 7) as f32).collect();
        Logits { values, labels: (0..num_samples).map(|i| i as i64 % 3).collect(), num_classes: 3 }
    }

    fn model(retain: Option<Logits>) -> ModelLogits {
        ModelLogits { retain, forget: logits(4), val: logits(5), test: logits(6) }
    }

    #[test]
    fn metrics_without_their_inputs_are_absent() {
        let alone = evaluate(&model(None), None, None);
        assert!(alone.get("acc_forget").is_some() && alone.get("smia_loss_eval_auc").is_some());
        for (key, _) in alone.iter() {
            let needs_more = ["rmia", "average_gap", "divergence", "forget_entropy_gap", "acc_retain"];
            assert!(!needs_more.iter().any(|start| key.starts_with(start)), "{key}");
        }

        let probabilities = |n: usize| vec![vec![0.5; n]; 2];
        let references =
            ReferenceProbabilities { forget: probabilities(4), val: probabilities(5), test: probabilities(6) };
        let retrained = evaluate(&model(None), Some(&references), None);
        let all = evaluate(&model(Some(logits(7))), Some(&references), Some((&model(None), &retrained)));
        assert_eq!(all.get("divergence_forget"), Some(0.0));
        assert_eq!(all.get("average_gap_test"), Some(0.0));
        assert_eq!((all.get("divergence_retain"), all.get("average_gap")), (None, None));
    }

    #[test]
    fn an_empty_forget_set_gives_nan_and_no_panic() {
        let target = ModelLogits { forget: Logits::empty(3), ..model(None) };
        let metrics = evaluate(&target, None, None);
        assert!(metrics.get("acc_forget").is_some_and(f64::is_nan));
        assert!(metrics.get("smia_loss_auc").is_some_and(f64::is_nan));
        assert!(metrics.get("acc_test").is_some_and(f64::is_finite));
    }

    #[test]
    fn references_or_a_retrained_model_of_another_split_are_named() {
        let target = model(None);
        let references =
            ReferenceProbabilities { forget: vec![vec![0.5; 4]], val: vec![vec![0.5; 5]], test: vec![vec![0.5; 9]] };
        let error = check_comparable(&target, Some(&references), None).unwrap_err();
        assert_eq!(error.message(), "references: test has 9 samples, the evaluated model has 6 samples");

        let retrained = ModelLogits { val: logits(2), ..model(Some(logits(3))) };
        let error = check_comparable(&target, None, Some(&retrained)).unwrap_err();
        let expected =
            "retrained model: eval has 2 samples of 3 classes, the evaluated model has 5 samples of 3 classes";
        assert_eq!(error.message(), expected);
        assert!(check_comparable(&target, None, Some(&target)).is_ok());
    }
}
