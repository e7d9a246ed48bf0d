//! The ROC curve of a membership attack and what is read off it.
//!
//! An attack calls a sample a member if its score reaches a threshold t; the curve runs over every distinct score, from
//! t = +inf (nobody) down to the smallest score (everybody). Points hold counts, so that areas and ties are exact.
//! One sort makes the curve, the rest is linear: O(n log n) for n scores.

/// One threshold: who scores at least that much.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Point {
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
    points: Vec<Point>,
}

impl Roc {
    /// The curve over all distinct thresholds. Scores that are not finite are dropped; `None` if that leaves no
    /// member or no nonmember, where no rate is defined.
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

        let mut point = Point { threshold: f64::INFINITY, true_positives: 0, false_positives: 0 };
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

    /// The same curve without the points inside runs of equal steps, for plots. The first score is always kept.
    pub fn without_equal_steps(&self) -> Self {
        let step = |i: usize| {
            let (from, to) = (self.points[i - 1], self.points[i]);
            (to.true_positives - from.true_positives, to.false_positives - from.false_positives)
        };
        let last = self.points.len() - 1;
        let is_kept = |i: usize| i <= 1 || i == last || step(i) != step(i + 1);
        Roc { points: (0..=last).filter(|i| is_kept(*i)).map(|i| self.points[i]).collect() }
    }

    pub fn points(&self) -> &[Point] {
        &self.points
    }

    pub fn num_members(&self) -> u64 {
        self.points[self.points.len() - 1].true_positives
    }

    pub fn num_nonmembers(&self) -> u64 {
        self.points[self.points.len() - 1].false_positives
    }

    /// True positive rate: share of members that are called members, in 0..=1.
    pub fn tpr(&self, point: &Point) -> f64 {
        point.true_positives as f64 / self.num_members() as f64
    }

    /// False positive rate: share of nonmembers that are called members, in 0..=1.
    pub fn fpr(&self, point: &Point) -> f64 {
        point.false_positives as f64 / self.num_nonmembers() as f64
    }

    /// Area under the curve (trapezoid): the probability that a random member outscores a random nonmember, ties
    /// counting half. 0.5 is guessing, 1 tells all apart, below 0.5 the attack points the wrong way.
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

    /// Standard error of [`auc`](Self::auc) as an estimate for the populations that members and nonmembers are drawn
    /// from (DeLong, DeLong and Clarke-Pearson 1988, "Comparing the areas under two or more correlated receiver
    /// operating characteristic curves", Biometrics 44(3)). NaN with fewer than two members or nonmembers; zero where
    /// the groups do not overlap, however few they are.
    ///
    /// The variance is that of the members' placements among the nonmembers over their number, plus the same the
    /// other way round; a placement is a share of outscored samples, ties counting half. Tied samples share theirs,
    /// which the curve already knows (the idea of Sun and Xu 2014, IEEE Signal Processing Letters 21(11)).
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

    /// Largest |tpr - fpr| (Youden's J without its sign): what the attack gains over guessing at its best threshold,
    /// were it told which way to point. 0 is guessing, 1 tells all apart.
    pub fn jmax_abs(&self) -> f64 {
        self.points.iter().map(|point| self.youden_j(point).abs()).fold(0.0, f64::max)
    }

    /// The point of largest signed tpr - fpr, the largest threshold among equals. It may be +inf: nobody is a member.
    pub fn best(&self) -> &Point {
        let mut best = &self.points[0];
        for point in &self.points[1..] {
            if self.youden_j(point) > self.youden_j(best) {
                best = point;
            }
        }
        best
    }

    /// Share of all samples, members and nonmembers, that are told right at [`best`](Self::best), in 0..=1. Not
    /// balanced: with few members, calling nobody a member already scores high.
    pub fn accuracy_at_best(&self) -> f64 {
        let best = self.best();
        let right = best.true_positives + self.num_nonmembers() - best.false_positives;
        right as f64 / (self.num_members() + self.num_nonmembers()) as f64
    }

    /// Largest true positive rate among the thresholds whose false positive rate is at most `max_fpr` (Carlini et al.
    /// 2022, arXiv 2112.03570): how many members are exposed with confidence. Guessing gives `max_fpr`; lower is more
    /// private. Nothing is interpolated, so with fewer than 1 / `max_fpr` nonmembers not one false positive is allowed.
    pub fn tpr_at_fpr(&self, max_fpr: f64) -> f64 {
        let allowed = self.points.partition_point(|point| self.fpr(point) <= max_fpr);
        self.tpr(&self.points[allowed - 1])
    }

    // Rates in float64 and then their difference: among mathematically equal J, rounding chooses the same threshold as
    // in the numbers published with scikit-learn.
    fn youden_j(&self, point: &Point) -> f64 {
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
