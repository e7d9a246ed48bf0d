//! Metrics compared with golden numbers of the Python benchmark (tests/fixtures/metrics.json and
//! metrics_arrays.safetensors), and ROC properties with slow, obvious definitions.

mod formula;

use formula::s;
use regun::eval::gap::average_gap;
use regun::eval::privacy::{ScoreAttack, measure, rmia_scores};
use regun::eval::roc::{Roc, RocPoint};
use regun::eval::{Logits, Metrics, ModelLogits, ReferenceProbabilities, evaluate};
use regun::report::json;
use regun::train::AccuracyCounts;
use serde_json::Value;

/// Tolerance of accuracies and of numbers from a ROC curve: counts and a few float64 operations.
const COUNTS: f64 = 1e-9;
/// Tolerance of means that the benchmark computes in float32.
const MEANS: f64 = 2e-6;
/// Tolerance of a single float32 score.
const SCORES: f64 = 1e-6;

// ---------------------------------------------------------------------------------------------------------------------
// Golden numbers

struct Fixtures {
    json: Value,
    arrays: Vec<u8>,
}

impl Fixtures {
    fn read() -> Self {
        let path = |name: &str| format!("{}/tests/fixtures/{name}", env!("CARGO_MANIFEST_DIR"));
        let json = std::fs::read_to_string(path("metrics.json")).unwrap();
        Fixtures {
            json: serde_json::from_str(&json).unwrap(),
            arrays: std::fs::read(path("metrics_arrays.safetensors")).unwrap(),
        }
    }

    fn floats(&self, name: &str) -> Vec<f64> {
        let arrays = safetensors::SafeTensors::deserialize(&self.arrays).unwrap();
        let array = arrays.tensor(name).unwrap();
        match array.dtype() {
            safetensors::Dtype::F32 => {
                array.data().chunks_exact(4).map(|b| f64::from(f32::from_le_bytes(b.try_into().unwrap()))).collect()
            }
            _ => array.data().chunks_exact(8).map(|b| f64::from_le_bytes(b.try_into().unwrap())).collect(),
        }
    }

    /// The logits of `part`, named as in the fixtures: retain, forget, eval, test.
    fn logits(&self, model: &str, part: &str) -> Logits {
        let settings = &self.json["models"][model];
        let num_samples = self.json["splits"][part]["n"].as_u64().unwrap();
        let stream = match part {
            "forget" => 0,
            "retain" => 1,
            "eval" => 2,
            _ => 3,
        };
        let (model_id, boost) = (settings["model_id"].as_u64().unwrap(), settings["boost"][part].as_f64().unwrap());
        let label = |i: u64| (3 * i + i / 7 + stream) % 10;
        let logit = |i: u64, class: u64| {
            let (shared, own) = (2000 + 10 * stream, 2001 + 10 * stream + model_id);
            let is_label = if class == label(i) { boost } else { 0.0 };
            (2.0 * s(shared, 10 * i + class) + 1.5 * s(own, 10 * i + class) + is_label) as f32
        };
        let values = (0..num_samples).flat_map(|i| (0..10).map(move |class| logit(i, class))).collect();
        Logits::new(values, (0..num_samples).map(|i| label(i) as i64).collect(), 10).unwrap()
    }

    fn model(&self, model: &str) -> ModelLogits {
        let [retain, forget, val, test] = ["retain", "forget", "eval", "test"].map(|part| self.logits(model, part));
        ModelLogits { retain: Some(retain), forget, val, test }
    }

    fn references(&self) -> ReferenceProbabilities {
        let of_part = |part: &str| {
            (1..=4).map(|k| self.logits(&format!("reference_{k}"), part).label_probabilities()).collect::<Vec<_>>()
        };
        ReferenceProbabilities { forget: of_part("forget"), val: of_part("eval"), test: of_part("test") }
    }
}

/// A number, or one of the strings that stand for the numbers that JSON does not have.
fn number(value: &Value) -> f64 {
    match value.as_str() {
        Some(name) => name.parse().unwrap(),
        None => value.as_f64().unwrap(),
    }
}

fn numbers(values: &Value) -> Vec<f64> {
    values.as_array().unwrap().iter().map(number).collect()
}

fn metrics_of(value: &Value) -> Metrics {
    json::from_json(value.as_object().unwrap()).unwrap()
}

#[track_caller]
fn assert_near(got: f64, expected: f64, tolerance: f64, what: &str) {
    let is_near = got == expected || (got.is_nan() && expected.is_nan()) || (got - expected).abs() <= tolerance;
    assert!(is_near, "{what}: got {got}, expected {expected} within {tolerance}");
}

fn assert_all_near(got: &[f64], expected: &[f64], tolerance: f64, what: &str) {
    assert_eq!(got.len(), expected.len(), "{what}");
    for (i, (got, expected)) in got.iter().zip(expected).enumerate() {
        assert_near(*got, *expected, tolerance, &format!("{what}[{i}]"));
    }
}

/// Checks keys, order and values of the benchmark's metrics, which come first in `got`.
fn assert_golden(got: &Metrics, expected: &Metrics, order: &Value, order_sensitive: &Value, who: &str) {
    let order: Vec<&str> = order.as_array().unwrap().iter().map(|key| key.as_str().unwrap()).collect();
    let keys: Vec<&str> = got.iter().map(|(key, _)| key).collect();
    assert_eq!(keys[..order.len()], order, "{who}");
    for key in order {
        let usual = if key.contains("entropy") && !key.starts_with("smia") || key.starts_with("divergence") {
            MEANS
        } else {
            COUNTS
        };
        // The benchmark's own result changes by this much with another order of float32 sums.
        let tolerance = usual.max(order_sensitive[key].as_f64().unwrap_or(0.0) + 1e-12);
        assert_near(got.get(key).unwrap(), expected.get(key).unwrap(), tolerance, &format!("{who}: {key}"));
    }
}

#[test]
fn logits_by_formula_are_the_stored_ones() {
    let fixtures = Fixtures::read();
    for (model, part) in [("target", "forget"), ("retrained", "retain"), ("reference_3", "eval"), ("target", "test")] {
        let stored: Vec<f32> = fixtures.floats(&format!("logits/{model}/{part}")).iter().map(|v| *v as f32).collect();
        assert_eq!(fixtures.logits(model, part).values, stored, "{model} {part}");
    }
}

#[test]
fn scores_of_every_sample() {
    let fixtures = Fixtures::read();
    let references = fixtures.references();
    for (part, references) in [("forget", &references.forget), ("eval", &references.val), ("test", &references.test)] {
        let logits = fixtures.logits("target", part);
        let predictions = logits.predict();
        for (attack, name, sign) in [
            (ScoreAttack::Loss, "loss", -1.0),
            (ScoreAttack::Confidence, "confidence", 1.0),
            (ScoreAttack::Entropy, "entropy", -1.0),
            (ScoreAttack::ModifiedEntropy, "modified_entropy", -1.0),
            (ScoreAttack::Correctness, "correctness", 1.0),
        ] {
            let name = format!("features/target/{part}/{name}");
            let features: Vec<f64> = attack.scores(&predictions).iter().map(|score| sign * score).collect();
            assert_all_near(&features, &fixtures.floats(&name), SCORES, &name);
        }
        for (k, reference) in references.iter().enumerate() {
            let name = format!("reference_probs/{part}/{}", k + 1);
            let got: Vec<f64> = reference.iter().map(|p| f64::from(*p)).collect();
            assert_all_near(&got, &fixtures.floats(&name), SCORES, &name);
        }
        let name = format!("rmia_scores/target/{part}");
        assert_all_near(&rmia_scores(&predictions, references), &fixtures.floats(&name), SCORES, &name);
    }
}

#[test]
fn every_metric_of_every_golden_model() {
    let fixtures = Fixtures::read();
    let (golden, references, retrained) = (&fixtures.json, fixtures.references(), fixtures.model("retrained"));
    let cached = evaluate(&retrained, Some(&references), None);
    let expected = metrics_of(&golden["cached_retrained_metrics"]);
    assert_golden(&cached, &expected, &golden["cached_retrained_key_order"], &Value::Null, "cached retrained");

    let change = |factor: f32| {
        let mut model = fixtures.model("target");
        for logits in [model.retain.as_mut().unwrap(), &mut model.forget, &mut model.val, &mut model.test] {
            logits.values.iter_mut().for_each(|logit| *logit *= factor);
        }
        model
    };
    for (who, model) in [
        ("target", change(1.0)),
        ("retrained_as_target", retrained.clone()),
        ("constant_zero_logits", change(0.0)),
        ("target_times_60", change(60.0)),
    ] {
        let got = evaluate(&model, Some(&references), Some((&retrained, &expected)));
        let expected = metrics_of(&golden["evaluator"][who]);
        assert_eq!(expected.len(), 52);
        assert_golden(&got, &expected, &golden["evaluator"]["key_order"], &golden["order_sensitive_keys"][who], who);
    }
}

#[test]
fn our_metrics_follow_the_benchmarks() {
    let fixtures = Fixtures::read();
    let (references, retrained) = (fixtures.references(), fixtures.model("retrained"));
    let cached = evaluate(&retrained, Some(&references), None);
    let metrics = evaluate(&fixtures.model("target"), Some(&references), Some((&retrained, &cached)));
    let ours: Vec<&str> = metrics.iter().map(|(key, _)| key).skip(52).collect();
    // Modified entropy in its published form (2 x 3), balanced accuracies (7 attacks x 2), low false positive rates (7
    // attacks x 2 x 2), standard errors (2).
    assert_eq!(ours.len(), 6 + 14 + 28 + 2);
    assert_eq!(ours[..3], ["smia_mentr_acc", "smia_mentr_auc", "smia_mentr_jmax_abs"]);
    assert!(ours.contains(&"smia_mentr_eval_tpr_at_fpr_0.01") && ours.contains(&"rmia_tpr_at_fpr_0.001"));
    assert_eq!(ours[6..8], ["smia_loss_balanced_acc", "smia_confidence_balanced_acc"]);
    assert_eq!(ours[48..], ["rmia_auc_se", "rmia_eval_auc_se"]);
    assert!(metrics.iter().all(|(_, value)| value.is_finite()));

    let golden = |part: &str| fixtures.floats(&format!("rmia_scores/target/{part}"));
    let expected = delong_by_definition(&golden("forget"), &golden("test"));
    assert_near(metrics.get("rmia_auc_se").unwrap(), expected, COUNTS, "rmia_auc_se");
}

#[test]
fn attack_scorer_cases() {
    for case in Fixtures::read().json["mia_cases"].as_array().unwrap() {
        let what = case["description"].as_str().unwrap();
        let (members, nonmembers) = (numbers(&case["member_scores"]), numbers(&case["nonmember_scores"]));
        let strength = measure(&members, &nonmembers);
        assert_near(strength.accuracy, number(&case["acc"]), COUNTS, what);
        assert_near(strength.auc, number(&case["auc"]), COUNTS, what);
        assert_near(strength.jmax_abs, number(&case["jmax_abs"]), COUNTS, what);

        let Some(roc) = Roc::new(&members, &nonmembers) else {
            assert!(case["fpr"].is_null(), "{what}");
            continue;
        };
        assert_eq!(roc.best().threshold, number(&case["chosen_threshold"]), "{what}");
        let j_signed = roc.tpr(roc.best()) - roc.fpr(roc.best());
        assert_near(j_signed, number(&case["j_max_signed"]), COUNTS, what);
        assert_near(strength.balanced_accuracy, (1.0 + number(&case["j_max_signed"])) / 2.0, COUNTS, what);
        let column = |of: &dyn Fn(&RocPoint) -> f64| roc.points().iter().map(of).collect::<Vec<f64>>();
        let (fpr, tpr, thresholds) = (column(&|p| roc.fpr(p)), column(&|p| roc.tpr(p)), column(&|p| p.threshold));
        assert_all_near(&fpr, &numbers(&case["fpr_all"]), COUNTS, what);
        assert_all_near(&tpr, &numbers(&case["tpr_all"]), COUNTS, what);
        assert_eq!(thresholds, numbers(&case["thresholds_all"]), "{what}");
        // The golden curve without the points inside runs of equal steps lies on ours.
        for (i, threshold) in numbers(&case["thresholds"]).into_iter().enumerate() {
            let at = thresholds.iter().position(|known| *known == threshold);
            let at = at.unwrap_or_else(|| panic!("{what}: no point at the threshold {threshold}"));
            assert_near(fpr[at], number(&case["fpr"][i]), COUNTS, what);
            assert_near(tpr[at], number(&case["tpr"][i]), COUNTS, what);
        }
    }
}

#[test]
fn average_gap_case() {
    let case = &Fixtures::read().json["average_gap_case"];
    let (unlearned, retrained) = (metrics_of(&case["unlearned"]), metrics_of(&case["retrained"]));
    let accuracies = ["acc_retain", "acc_test", "acc_forget"];
    for (name, keys) in [
        ("all_five", [&accuracies[..], &["mia_acc", "mia_auc"]].concat()),
        ("without_mia_acc", [&accuracies[..], &["mia_auc"]].concat()),
        ("mia_auc_and_acc", vec!["mia_auc", "acc_test"]),
    ] {
        let gap = average_gap(&unlearned, &retrained, &keys).unwrap();
        assert_near(gap, number(&case[name]), COUNTS, name);
    }
}

#[test]
fn logged_macro_accuracy_cases() {
    for case in Fixtures::read().json["logged_macro_accuracy"].as_array().unwrap() {
        let mut accuracy = AccuracyCounts::new(case["num_classes"].as_u64().unwrap() as usize);
        let one = [case.clone()];
        for batch in case["batches"].as_array().map_or(&one[..], Vec::as_slice) {
            let classes =
                |key: &str| batch[key].as_array().unwrap().iter().map(|v| v.as_i64().unwrap()).collect::<Vec<_>>();
            accuracy.add(&classes("preds"), &classes("labels")).unwrap();
        }
        assert_near(accuracy.over_classes(), number(&case["macro_accuracy"]), COUNTS, case["name"].as_str().unwrap());
        if let Some(plain) = case["plain_accuracy"].as_f64() {
            assert_near(accuracy.over_samples(), plain, COUNTS, case["name"].as_str().unwrap());
        }
    }
}

// ---------------------------------------------------------------------------------------------------------------------
// Properties of the ROC curve on random scores, many of them tied

/// `count` random scores on a grid of `levels` values, plus `shift`. Few levels make many ties.
fn random_scores(stream: u64, count: u64, levels: u64, shift: f64) -> Vec<f64> {
    (0..count).map(|i| (s(stream, i) * levels as f64).floor() / levels as f64 + shift).collect()
}

/// Pairs of score sets of different sizes, from heavily tied to all distinct.
fn random_pairs() -> impl Iterator<Item = (Vec<f64>, Vec<f64>)> {
    [(2, 2, 1), (3, 40, 2), (40, 3, 4), (50, 70, 8), (101, 37, 1 << 20)].into_iter().zip(100..).map(
        |((num_members, num_nonmembers, levels), stream)| {
            let members = random_scores(2 * stream, num_members, levels, 0.25);
            (members, random_scores(2 * stream + 1, num_nonmembers, levels, 0.0))
        },
    )
}

/// 1 if the member has the higher score, 1/2 for a tie. The AUC is the mean of this over all pairs.
fn wins(member: f64, nonmember: f64) -> f64 {
    if member == nonmember { 0.5 } else { f64::from(u8::from(member > nonmember)) }
}

fn auc_by_definition(members: &[f64], nonmembers: &[f64]) -> f64 {
    let all = members.iter().flat_map(|x| nonmembers.iter().map(|y| wins(*x, *y)));
    all.sum::<f64>() / (members.len() * nonmembers.len()) as f64
}

fn delong_by_definition(members: &[f64], nonmembers: &[f64]) -> f64 {
    let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
    let variance_of_mean = |values: &[f64]| {
        let squares: f64 = values.iter().map(|value| (value - mean(values)).powi(2)).sum();
        squares / (values.len() - 1) as f64 / values.len() as f64
    };
    let of_member = |x: &f64| mean(&nonmembers.iter().map(|y| wins(*x, *y)).collect::<Vec<_>>());
    let of_nonmember = |y: &f64| mean(&members.iter().map(|x| wins(*x, *y)).collect::<Vec<_>>());
    let by_member: Vec<f64> = members.iter().map(of_member).collect();
    let by_nonmember: Vec<f64> = nonmembers.iter().map(of_nonmember).collect();
    (variance_of_mean(&by_member) + variance_of_mean(&by_nonmember)).sqrt()
}

#[test]
fn auc_and_its_standard_error_are_their_definitions() {
    for (members, nonmembers) in random_pairs() {
        let roc = Roc::new(&members, &nonmembers).unwrap();
        assert_near(roc.auc(), auc_by_definition(&members, &nonmembers), 1e-14, "auc");
        assert_near(roc.auc_standard_error(), delong_by_definition(&members, &nonmembers), 1e-13, "standard error");
    }
}

#[test]
fn rates_at_every_threshold_are_their_definitions() {
    for (members, nonmembers) in random_pairs() {
        let roc = Roc::new(&members, &nonmembers).unwrap();
        let share = |scores: &[f64], t: f64| scores.iter().filter(|s| **s >= t).count() as f64 / scores.len() as f64;
        let mut largest_gap = 0.0f64;
        for point in roc.points() {
            assert_eq!(roc.tpr(point), share(&members, point.threshold));
            assert_eq!(roc.fpr(point), share(&nonmembers, point.threshold));
            largest_gap = largest_gap.max((roc.tpr(point) - roc.fpr(point)).abs());
        }
        assert_eq!(roc.jmax_abs(), largest_gap);
    }
}

#[test]
fn exchanging_members_and_nonmembers_mirrors_the_auc() {
    for (members, nonmembers) in random_pairs() {
        let (one, other) = (Roc::new(&members, &nonmembers).unwrap(), Roc::new(&nonmembers, &members).unwrap());
        assert_near(one.auc(), 1.0 - other.auc(), 1e-15, "auc");
        assert_near(one.auc_standard_error(), other.auc_standard_error(), 1e-15, "standard error");
        assert_eq!(one.jmax_abs(), other.jmax_abs());
    }
}

#[test]
fn only_the_order_of_scores_matters() {
    for (members, nonmembers) in random_pairs() {
        let mapped = |scores: &[f64]| scores.iter().map(|score| (3.0 * score - 1.0).exp()).collect::<Vec<_>>();
        let (plain, mapped) = (measure(&members, &nonmembers), measure(&mapped(&members), &mapped(&nonmembers)));
        assert_eq!(format!("{plain:?}"), format!("{mapped:?}"));
    }
}
