//! ROC curve of a membership attack, and the numbers derived from it.
//!
//! An attack calls a sample a member if its score is at least a threshold t. The curve has one point per distinct
//! score, from t = +inf (no members) down to the smallest score (all members). Points hold counts, so areas and ties
//! are exact. Sorting n scores dominates the cost: O(n log n).

/// One threshold, with the number of samples that score at least as much.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RocPoint {
    pub threshold: f64,
    /// Members with score >= threshold.
    pub true_positives: u64,
    /// Nonmembers with score >= threshold.
    pub false_positives: u64,
}

/// A ROC curve with at least one member and one nonmember.
#[derive(Debug, Clone, PartialEq)]
pub struct Roc {
    /// Thresholds fall, counts rise: from (+inf, 0, 0) to (smallest score, all, all).
    points: Vec<RocPoint>,
}

impl Roc {
    /// The curve over all distinct thresholds. Scores that are not finite are dropped. `None` if no member or no
    /// nonmember is left: the rates are then undefined.
    pub fn new(members: &[f64], nonmembers: &[f64]) -> Option<Self> {
        let label = |scores: &[f64], is_member: bool| {
            scores.iter().filter(|score| score.is_finite()).map(|score| (*score, is_member)).collect::<Vec<_>>()
        };
        let mut scored = label(members, true);
        let num_members = scored.len();
        scored.extend(label(nonmembers, false));
        if num_members == 0 || num_members == scored.len() {
            return None;
        }
        scored.sort_unstable_by(|a, b| b.0.total_cmp(&a.0));

        let mut point = RocPoint { threshold: f64::INFINITY, true_positives: 0, false_positives: 0 };
        let mut points = vec![point];
        for tied in scored.chunk_by(|a, b| a.0 == b.0) {
            let members = tied.iter().filter(|(_, is_member)| *is_member).count();
            point.threshold = tied[0].0;
            point.true_positives += members as u64;
            point.false_positives += (tied.len() - members) as u64;
            points.push(point);
        }
        Some(Roc { points })
    }

    /// All points, by falling threshold.
    pub fn points(&self) -> &[RocPoint] {
        &self.points
    }

    pub fn num_members(&self) -> u64 {
        self.points[self.points.len() - 1].true_positives
    }

    pub fn num_nonmembers(&self) -> u64 {
        self.points[self.points.len() - 1].false_positives
    }

    /// True positive rate: fraction of members that are called members, in 0..=1.
    pub fn tpr(&self, point: &RocPoint) -> f64 {
        point.true_positives as f64 / self.num_members() as f64
    }

    /// False positive rate: fraction of nonmembers that are called members, in 0..=1.
    pub fn fpr(&self, point: &RocPoint) -> f64 {
        point.false_positives as f64 / self.num_nonmembers() as f64
    }

    /// Area under the curve (trapezoid): the probability that a random member outscores a random nonmember, ties
    /// counting half. 0.5 is guessing, 1 is perfect separation; below 0.5 the attack points the wrong way.
    pub fn auc(&self) -> f64 {
        let twice_area: u64 = self
            .points
            .windows(2)
            .map(|step| {
                (step[1].false_positives - step[0].false_positives) * (step[1].true_positives + step[0].true_positives)
            })
            .sum();
        twice_area as f64 / (2 * self.num_members() * self.num_nonmembers()) as f64
    }

    /// Standard error of [`auc`](Self::auc) as an estimate for the populations of members and nonmembers (DeLong,
    /// DeLong and Clarke-Pearson 1988, "Comparing the areas under two or more correlated receiver operating
    /// characteristic curves", Biometrics 44(3)). NaN with fewer than two members or nonmembers; zero if the groups do
    /// not overlap.
    ///
    /// The placement of a member is the fraction of nonmembers that it outscores, ties counting half. The variance of
    /// the AUC is the variance of the members' placements over their number, plus the corresponding term of the
    /// nonmembers. Tied samples have equal placements, so one pass over the points of the curve is enough (the idea of
    /// Sun and Xu 2014, IEEE Signal Processing Letters 21(11)).
    pub fn auc_standard_error(&self) -> f64 {
        let (num_members, num_nonmembers) = (self.num_members() as f64, self.num_nonmembers() as f64);
        let auc = self.auc();
        let (mut squares_members, mut squares_nonmembers) = (0.0, 0.0);
        for step in self.points.windows(2) {
            let tied_members = (step[1].true_positives - step[0].true_positives) as f64;
            let tied_nonmembers = (step[1].false_positives - step[0].false_positives) as f64;
            let outscored = num_nonmembers - step[1].false_positives as f64;
            let outscored_by = step[0].true_positives as f64;
            let placement_member = (outscored + tied_nonmembers / 2.0) / num_nonmembers;
            let placement_nonmember = (outscored_by + tied_members / 2.0) / num_members;
            squares_members += tied_members * (placement_member - auc).powi(2);
            squares_nonmembers += tied_nonmembers * (placement_nonmember - auc).powi(2);
        }
        let variance = squares_members / (num_members - 1.0) / num_members
            + squares_nonmembers / (num_nonmembers - 1.0) / num_nonmembers;
        variance.sqrt()
    }

    /// Largest |tpr - fpr| (Youden's J without its sign): the advantage over guessing at the best threshold, if the
    /// attack knew in which direction to decide. 0 is guessing, 1 is perfect separation.
    pub fn jmax_abs(&self) -> f64 {
        self.points.iter().map(|point| self.youden_j(point).abs()).fold(0.0, f64::max)
    }

    /// The point with the largest signed tpr - fpr; among equals the one with the largest threshold. The threshold may
    /// be +inf (no members).
    pub fn best(&self) -> &RocPoint {
        let mut best = &self.points[0];
        for point in &self.points[1..] {
            if self.youden_j(point) > self.youden_j(best) {
                best = point;
            }
        }
        best
    }

    /// Fraction of all samples, members and nonmembers, that are classified right at [`best`](Self::best), in 0..=1.
    /// Not balanced: with few members, calling no sample a member already scores high.
    pub fn accuracy_at_best(&self) -> f64 {
        let best = self.best();
        let right = best.true_positives + self.num_nonmembers() - best.false_positives;
        right as f64 / (self.num_members() + self.num_nonmembers()) as f64
    }

    /// (1 + J) / 2 with the largest signed J = tpr - fpr: the mean of the fraction of members and the fraction of
    /// nonmembers that are classified right at [`best`](Self::best), in 0.5..=1. Near-equal J give near-equal values,
    /// while [`accuracy_at_best`](Self::accuracy_at_best) jumps between their thresholds.
    pub fn balanced_accuracy_at_best(&self) -> f64 {
        (1.0 + self.youden_j(self.best())) / 2.0
    }

    /// Largest true positive rate among the thresholds with a false positive rate of at most `max_fpr` (Carlini et al.
    /// 2022, arXiv 2112.03570): the fraction of members that are exposed with confidence. Guessing gives `max_fpr`;
    /// lower is more private. Nothing is interpolated: with fewer than 1 / `max_fpr` nonmembers no false positive is
    /// allowed.
    pub fn tpr_at_fpr(&self, max_fpr: f64) -> f64 {
        let allowed = self.points.partition_point(|point| self.fpr(point) <= max_fpr);
        self.tpr(&self.points[allowed - 1])
    }

    /// tpr - fpr. Each rate is rounded to float64 before the subtraction. Among mathematically equal values, rounding
    /// then chooses the same threshold as scikit-learn does in the published numbers.
    fn youden_j(&self, point: &RocPoint) -> f64 {
        self.tpr(point) - self.fpr(point)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tpr_at_low_fpr_takes_the_last_allowed_threshold() {
        let members = [9.0, 7.0, 5.0, 1.0];
        let nonmembers: Vec<f64> = (0..100).map(|i| if i == 0 { 8.0 } else { f64::from(i) / 100.0 - 1.0 }).collect();
        let roc = Roc::new(&members, &nonmembers).unwrap();
        assert_eq!(roc.tpr_at_fpr(0.001), 0.25);
        assert_eq!(roc.tpr_at_fpr(0.01), 1.0);
        assert_eq!(roc.tpr_at_fpr(0.0), 0.25);
    }

    #[test]
    fn the_accuracy_jumps_between_thresholds_of_equal_j_and_the_balanced_accuracy_does_not() {
        // A member on top, a nonmember at the bottom, and a tie of nine members and nine tenths of the nonmembers
        // between them. J is about 0.1 above and below the tie.
        let members = [&[9.0][..], &[5.0; 9]].concat();
        let strength = |tied: usize| {
            let nonmembers = [vec![5.0; tied], vec![1.0; 100 - tied]].concat();
            let roc = Roc::new(&members, &nonmembers).unwrap();
            (roc.accuracy_at_best(), roc.balanced_accuracy_at_best(), roc.jmax_abs())
        };
        let ((above, balanced_above, _), (below, balanced_below, j)) = (strength(91), strength(89));
        assert!(above > 0.9 && below < 0.2, "{above} {below}");
        assert!((balanced_above - 0.55).abs() < 1e-12 && (balanced_below - 0.555).abs() < 1e-12);
        assert_eq!(balanced_below, (1.0 + j) / 2.0);
    }

    #[test]
    fn a_negative_zero_ties_with_zero() {
        let roc = Roc::new(&[0.0], &[-0.0]).unwrap();
        assert_eq!(roc.points().len(), 2);
        assert_eq!(roc.auc(), 0.5);
    }

    #[test]
    fn one_sample_has_no_standard_error() {
        assert!(Roc::new(&[1.0], &[0.0, 2.0]).unwrap().auc_standard_error().is_nan());
        assert_eq!(Roc::new(&[3.0, 4.0], &[0.0, 2.0]).unwrap().auc_standard_error(), 0.0);
    }
}
