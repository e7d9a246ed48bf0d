//! Cuts the training images into parts: a pure function of the labels and the `split` settings.

use std::collections::HashMap;

use super::indices::SplitIndices;
use crate::config::schema::{Scheme, SplitConfig};
use crate::random::python::PythonRandom;

/// Cuts the training images `0..labels.len()` by the settings `spec`. `labels[i]` is the class of image `i`. Checks
/// nothing: any part may be empty.
pub fn cut(labels: &[i64], spec: &SplitConfig) -> SplitIndices {
    let mut rng = PythonRandom::new(spec.seed);
    let mut parts = SplitIndices::default();
    match spec.scheme {
        Scheme::Random => {
            let mut all: Vec<usize> = (0..labels.len()).collect();
            rng.shuffle(&mut all);
            cut_group(&mut parts, &all, spec, spec.forget_frac);
        }
        Scheme::Stratified => {
            for (_, group) in shuffled_classes(labels, 0..labels.len(), &mut rng) {
                cut_group(&mut parts, &group, spec, spec.forget_frac);
            }
        }
        Scheme::Class => {
            let mut others = Vec::with_capacity(labels.len());
            for (class, group) in shuffled_classes(labels, 0..labels.len(), &mut rng) {
                let (heldout, rest) = take(&group, spec.heldout_frac, group.len());
                let forget_frac = if spec.forget_classes.contains(&class) { spec.forget_frac } else { 0.0 };
                let (forget, rest) = take(rest, forget_frac, rest.len());
                parts.heldout.extend(heldout);
                parts.forget.extend(forget);
                others.extend(rest);
            }
            let mut rng = PythonRandom::new(spec.seed);
            let rest_spec = SplitConfig { heldout_frac: 0.0, ..spec.clone() };
            for (_, group) in shuffled_classes(labels, others, &mut rng) {
                cut_group(&mut parts, &group, &rest_spec, 0.0);
            }
        }
    }
    for part in [&mut parts.retain, &mut parts.forget, &mut parts.heldout, &mut parts.val] {
        part.sort_unstable();
    }
    parts.retain_subset = retain_subset(&parts, spec.seed);
    parts
}

/// Cuts one shuffled group: held-out from its front, then validation and forget; the rest is retain.
fn cut_group(parts: &mut SplitIndices, group: &[usize], spec: &SplitConfig, forget_frac: f64) {
    let (heldout, rest) = take(group, spec.heldout_frac, group.len());
    let remaining = rest.len();
    let (val, rest) = take(rest, spec.validation_frac, remaining);
    let (forget, retain) = take(rest, forget_frac, remaining);
    parts.heldout.extend(heldout);
    parts.val.extend(val);
    parts.forget.extend(forget);
    parts.retain.extend(retain);
}

/// Divides `items` into the first round(fraction * of), or all if there are fewer, and the others.
fn take(items: &[usize], fraction: f64, of: usize) -> (&[usize], &[usize]) {
    items.split_at(rounded(fraction, of).min(items.len()))
}

/// Python's `round(fraction * n)`: halves go to the even neighbour.
pub(super) fn rounded(fraction: f64, n: usize) -> usize {
    (fraction * n as f64).round_ties_even() as usize
}

/// Groups `indices` by class. The classes are in order of first appearance, and one generator shuffles them in that
/// order.
fn shuffled_classes(
    labels: &[i64],
    indices: impl IntoIterator<Item = usize>,
    rng: &mut PythonRandom,
) -> Vec<(i64, Vec<usize>)> {
    let mut groups: Vec<(i64, Vec<usize>)> = Vec::new();
    let mut position = HashMap::new();
    for index in indices {
        let class = labels[index];
        let at = *position.entry(class).or_insert(groups.len());
        if at == groups.len() {
            groups.push((class, Vec::new()));
        }
        groups[at].1.push(index);
    }
    for (_, group) in &mut groups {
        rng.shuffle(group);
    }
    groups
}

/// As many retain indices as there are forget indices, drawn at random and sorted.
fn retain_subset(parts: &SplitIndices, seed: u64) -> Vec<usize> {
    let mut subset = parts.retain.clone();
    PythonRandom::new(seed).shuffle(&mut subset);
    subset.truncate(parts.forget.len());
    subset.sort_unstable();
    subset
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_round_like_python() {
        let golden: serde_json::Value =
            serde_json::from_str(include_str!("../../../tests/fixtures/splits.json")).unwrap();
        let rows = golden["rounding"].as_array().unwrap();
        assert!(rows.len() > 10);
        for row in rows {
            let n = row["n"].as_u64().unwrap() as usize;
            assert_eq!(rounded(row["fraction"].as_f64().unwrap(), n) as u64, row["rounded"].as_u64().unwrap(), "{row}");
        }
    }
}
