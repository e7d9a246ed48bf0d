//! Which training images are forgotten, retained, held out and validated on: a pure function of the labels and the
//! `split` settings, equal to the Python program's to the last index.
//!
//! Held-out is cut first, from the whole; validation and forget are fractions of what is left; the remainder is
//! retain, whatever `retain_frac` says. Sizes are rounded half to even, like Python's `round`.

use std::collections::HashMap;

use crate::config::schema::{Scheme, SplitConfig};
use crate::digest::sha256;
use crate::error::{Error, ErrorKind, Result};
use crate::random::python::PythonRandom;

/// Disjoint index sets that together cover the training images. Every list is sorted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SplitIndices {
    pub retain: Vec<usize>,
    pub forget: Vec<usize>,
    /// Never trained on: what ReGUn draws its references from.
    pub heldout: Vec<usize>,
    pub val: Vec<usize>,
    /// As many retain indices as there are forget indices, or all of them where there are fewer.
    pub retain_subset: Vec<usize>,
    /// One line each, for the log.
    pub warnings: Vec<String>,
}

impl SplitIndices {
    /// What the base model trains on: retain and forget, sorted.
    pub fn train(&self) -> Vec<usize> {
        let mut train = [self.retain.as_slice(), &self.forget].concat();
        train.sort_unstable();
        train
    }

    fn sizes(&self) -> String {
        format!(
            "held-out {}, validation {}, forget {}, retain {}",
            self.heldout.len(),
            self.val.len(),
            self.forget.len(),
            self.retain.len()
        )
    }
}

/// SHA-256 (hex) of the decimal indices joined by commas: how two programs compare a part.
pub fn digest(part: &[usize]) -> String {
    let text: Vec<String> = part.iter().map(usize::to_string).collect();
    sha256(text.join(","))
}

/// Cuts `0..labels.len()` as `spec` says. `labels[i]` is the class of training image `i`.
///
/// Fails on a fraction outside [0, 1], on a forget class that no image has, and on an empty forget or retain set.
pub fn split(labels: &[i64], spec: &SplitConfig) -> Result<SplitIndices> {
    check_fractions(spec)?;
    if spec.scheme == Scheme::Class {
        check_forget_classes(labels, spec)?;
    }
    let mut parts = cut(labels, spec);
    check_disjoint(&parts, labels.len())?;
    check_not_empty(&parts, labels.len(), spec)?;
    parts.warnings = warnings(&parts, labels.len(), spec);
    Ok(parts)
}

/// The cut alone: no setting is judged, and any part may come out empty.
pub fn cut(labels: &[i64], spec: &SplitConfig) -> SplitIndices {
    let mut rng = PythonRandom::new(spec.seed);
    let mut parts = SplitIndices::default();
    match spec.scheme {
        Scheme::Random => {
            let mut all: Vec<usize> = (0..labels.len()).collect();
            rng.shuffle(&mut all);
            parts.cut_group(&all, spec, spec.forget_frac);
        }
        Scheme::Stratified => {
            for (_, group) in shuffled_classes(labels, 0..labels.len(), &mut rng) {
                parts.cut_group(&group, spec, spec.forget_frac);
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
                parts.cut_group(&group, &rest_spec, 0.0);
            }
        }
    }
    for part in [&mut parts.retain, &mut parts.forget, &mut parts.heldout, &mut parts.val] {
        part.sort_unstable();
    }
    parts.retain_subset = retain_subset(&parts, spec.seed);
    parts
}

impl SplitIndices {
    /// Cuts one shuffled group: held-out from its front, then validation and forget, and the rest to retain.
    fn cut_group(&mut self, group: &[usize], spec: &SplitConfig, forget_frac: f64) {
        let (heldout, rest) = take(group, spec.heldout_frac, group.len());
        let remaining = rest.len();
        let (val, rest) = take(rest, spec.validation_frac, remaining);
        let (forget, retain) = take(rest, forget_frac, remaining);
        self.heldout.extend(heldout);
        self.val.extend(val);
        self.forget.extend(forget);
        self.retain.extend(retain);
    }
}

/// The first round(fraction * of) of `items`, or all where there are fewer, and the others.
fn take(items: &[usize], fraction: f64, of: usize) -> (&[usize], &[usize]) {
    items.split_at(share(fraction, of).min(items.len()))
}

/// Python's `round(fraction * n)`.
fn share(fraction: f64, n: usize) -> usize {
    (fraction * n as f64).round_ties_even() as usize
}

/// `indices` by class, classes in order of first appearance, each shuffled by the same generator in that order.
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

fn retain_subset(parts: &SplitIndices, seed: u64) -> Vec<usize> {
    let mut subset = parts.retain.clone();
    PythonRandom::new(seed).shuffle(&mut subset);
    subset.truncate(parts.forget.len());
    subset.sort_unstable();
    subset
}

fn check_fractions(spec: &SplitConfig) -> Result<()> {
    for (key, value) in [
        ("heldout_frac", spec.heldout_frac),
        ("validation_frac", spec.validation_frac),
        ("retain_frac", spec.retain_frac),
        ("forget_frac", spec.forget_frac),
    ] {
        if !(0.0..=1.0).contains(&value) {
            return Err(Error::usage(format!("split.{key} is {value}, wanted a fraction from 0 to 1"))
                .hint("0.1 means one image in ten"));
        }
    }
    Ok(())
}

fn check_forget_classes(labels: &[i64], spec: &SplitConfig) -> Result<()> {
    let mut known = labels.to_vec();
    known.sort_unstable();
    known.dedup();
    let Some(unknown) = spec.forget_classes.iter().find(|&class| known.binary_search(class).is_err()) else {
        return Ok(());
    };
    let range = match (known.first(), known.last()) {
        (Some(first), Some(last)) => format!("{} classes from {first} to {last}", known.len()),
        _ => "no images".into(),
    };
    Err(Error::usage(format!(
        "split.forget_classes names class {unknown}, but the training images have {range}, and none of class {unknown}"
    ))
    .hint("classes are numbered from 0; data.debug_subset_size can leave a class without images"))
}

/// Whatever the settings, each index belongs to exactly one part: anything else is our mistake.
fn check_disjoint(parts: &SplitIndices, n: usize) -> Result<()> {
    let mut owners = vec![0_u32; n];
    for &index in [&parts.retain, &parts.forget, &parts.heldout, &parts.val].into_iter().flatten() {
        owners[index] += 1;
    }
    match owners.iter().position(|&count| count != 1) {
        Some(index) => Err(Error::new(
            ErrorKind::Bug,
            format!(
                "training image {index} is in {} of the four parts of the split, wanted exactly one",
                owners[index]
            ),
        )),
        None => Ok(()),
    }
}

fn check_not_empty(parts: &SplitIndices, n: usize, spec: &SplitConfig) -> Result<()> {
    if parts.forget.is_empty() {
        let hint = match spec.scheme {
            Scheme::Random => "raise split.forget_frac",
            Scheme::Stratified => {
                "raise split.forget_frac, or use split.scheme=random: a stratified split rounds the share of each class \
                 on its own, down to none in small classes"
            }
            Scheme::Class => "raise split.forget_frac, and name at least one class in split.forget_classes",
        };
        return Err(empty("forget", parts, n, spec).hint(hint));
    }
    if parts.retain.is_empty() {
        return Err(empty("retain", parts, n, spec).hint(
            "lower split.heldout_frac, split.validation_frac or split.forget_frac: retain is what they leave over",
        ));
    }
    Ok(())
}

fn empty(name: &str, parts: &SplitIndices, n: usize, spec: &SplitConfig) -> Error {
    Error::usage(format!(
        "the {name} set is empty: split.heldout_frac={}, validation_frac={}, forget_frac={} cut {n} training images \
         into {}",
        spec.heldout_frac,
        spec.validation_frac,
        spec.forget_frac,
        parts.sizes()
    ))
}

fn warnings(parts: &SplitIndices, n: usize, spec: &SplitConfig) -> Vec<String> {
    let mut warnings = Vec::new();
    // With scheme `class`, forget is a share of its classes and leaves the other two to divide the rest.
    let (names, sum, rest) = match spec.scheme {
        Scheme::Class => (
            "validation_frac + retain_frac",
            spec.validation_frac + spec.retain_frac,
            parts.val.len() + parts.retain.len(),
        ),
        _ => (
            "validation_frac + forget_frac + retain_frac",
            spec.validation_frac + spec.forget_frac + spec.retain_frac,
            n - parts.heldout.len(),
        ),
    };
    if (sum - 1.0).abs() > 1e-6 {
        warnings.push(format!(
            "split.{names} is {}, not 1: retain gets what the others leave, {} images where retain_frac={} of {rest} \
             would be {} ({})",
            (sum * 1e6).round() / 1e6,
            parts.retain.len(),
            spec.retain_frac,
            share(spec.retain_frac, rest),
            parts.sizes()
        ));
    }
    if parts.forget.len() > parts.retain.len() {
        warnings.push(format!(
            "forget has {} images and retain only {}: the retain subset, meant to be as large as forget, is all of retain",
            parts.forget.len(),
            parts.retain.len()
        ));
    }
    warnings
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A cut that lost or doubled an index must not get past the gate.
    #[test]
    fn overlap_is_a_bug() {
        let parts = SplitIndices { retain: vec![0, 1], forget: vec![1, 2], ..SplitIndices::default() };
        assert_eq!(check_disjoint(&parts, 3).unwrap_err().kind(), ErrorKind::Bug);
        let parts = SplitIndices { retain: vec![0], forget: vec![2], ..SplitIndices::default() };
        assert_eq!(check_disjoint(&parts, 3).unwrap_err().kind(), ErrorKind::Bug);
        let parts = SplitIndices { retain: vec![0, 1], forget: vec![2], ..SplitIndices::default() };
        assert!(check_disjoint(&parts, 3).is_ok());
    }

    #[test]
    fn shares_round_like_python() {
        let golden: serde_json::Value = serde_json::from_str(include_str!("../../tests/fixtures/splits.json")).unwrap();
        let rows = golden["rounding"].as_array().unwrap();
        assert!(rows.len() > 10);
        for row in rows {
            let n = row["n"].as_u64().unwrap() as usize;
            assert_eq!(share(row["fraction"].as_f64().unwrap(), n) as u64, row["rounded"].as_u64().unwrap(), "{row}");
        }
    }
}
