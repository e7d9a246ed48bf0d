//! Distance between the predictions of two models.

use super::logits::Predictions;
use super::performance::mean;

/// Mean Jensen-Shannon divergence of two models over the same samples, in nats: 0 (equal) to log 2 (disjoint).
/// Between an unlearned and the retrained model lower is better. NaN without samples, or if the two models have
/// different numbers of samples or classes.
///
/// JS(p, q) = KL(p || m) / 2 + KL(q || m) / 2 with m = (p + q) / 2 (Lin 1991, "Divergence measures based on the Shannon
/// entropy", IEEE Transactions on Information Theory 37(1)).
pub fn mean_jensen_shannon(model: &Predictions, other: &Predictions) -> f64 {
    if model.len() != other.len() {
        return f64::NAN;
    }
    mean(model.iter().zip(other.iter()).map(|(p, q)| jensen_shannon(p.probabilities, q.probabilities)))
}

/// Jensen-Shannon divergence of two distributions over K classes, in nats; exactly 0 for equal ones. NaN if they have
/// different numbers of classes.
pub fn jensen_shannon(p: &[f32], q: &[f32]) -> f64 {
    if p.len() != q.len() {
        return f64::NAN;
    }
    let term = |p: f64, m: f64| if p == 0.0 { 0.0 } else { p * (p / m).ln() };
    let both = p.iter().zip(q).map(|(&p, &q)| {
        let (p, q) = (f64::from(p), f64::from(q));
        let m = (p + q) / 2.0;
        (term(p, m) + term(q, m)) / 2.0
    });
    both.sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::f64::consts::LN_2;

    #[test]
    fn equal_is_zero_and_disjoint_is_log_two() {
        assert_eq!(jensen_shannon(&[0.3, 0.7, 0.0], &[0.3, 0.7, 0.0]), 0.0);
        assert!((jensen_shannon(&[1.0, 0.0], &[0.0, 1.0]) - LN_2).abs() < 1e-15);
    }

    #[test]
    fn both_directions_agree() {
        let (p, q) = ([0.5, 0.25, 0.25], [0.125, 0.125, 0.75]);
        assert!((jensen_shannon(&p, &q) - jensen_shannon(&q, &p)).abs() < 1e-16);
        // KL(p||m) and KL(q||m) by hand: m = (5/16, 3/16, 1/2).
        let by_hand: f64 = 0.5 * (0.5 * 1.6f64.ln() + 0.25 * (4.0f64 / 3.0).ln() + 0.25 * 0.5f64.ln())
            + 0.5 * (0.125 * 0.4f64.ln() + 0.125 * (2.0f64 / 3.0).ln() + 0.75 * 1.5f64.ln());
        assert!((jensen_shannon(&p, &q) - by_hand).abs() < 1e-15);
    }

    #[test]
    fn different_numbers_of_classes_do_not_compare() {
        assert!(jensen_shannon(&[1.0], &[0.5, 0.5]).is_nan());
    }
}
