//! Cuts the training images, and checks the settings and the result.

use super::cut::{cut, rounded};
use super::indices::SplitIndices;
use crate::config::schema::{Scheme, SplitConfig};
use crate::error::{Error, ErrorKind, Result};

/// Cuts the training images `0..labels.len()` by the settings `spec`, and checks settings and result. `labels[i]` is
/// the class of training image `i`.
///
/// # Errors
/// `Usage` for a fraction outside [0, 1], for a forget class without images, and for an empty forget or retain set.
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

/// Each index belongs to exactly one part, with any settings; everything else is a bug.
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
                "raise split.forget_frac, or use split.scheme=random: a stratified split rounds the number of images \
                 of each class on its own, down to none in small classes"
            }
            Scheme::Class => "raise split.forget_frac, and name at least one class in split.forget_classes",
        };
        return Err(empty("forget", parts, n, spec).hint(hint));
    }
    if parts.retain.is_empty() {
        return Err(empty("retain", parts, n, spec)
            .hint("lower split.heldout_frac, split.validation_frac or split.forget_frac: retain gets the rest"));
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
    // With scheme `class`, forget is a fraction of its classes, and the other two divide the rest.
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
    if spec.checks_retain_frac && (sum - 1.0).abs() > 1e-6 {
        warnings.push(format!(
            "split.{names} is {}, not 1: retain gets the rest, {} images, although retain_frac={} of {rest} \
             would be {} ({})",
            (sum * 1e6).round() / 1e6,
            parts.retain.len(),
            spec.retain_frac,
            rounded(spec.retain_frac, rest),
            parts.sizes()
        ));
    }
    if parts.forget.len() > parts.retain.len() {
        warnings.push(format!(
            "forget has {} images and retain only {}: the retain subset, meant to be as large as forget, is \
             all of retain",
            parts.forget.len(),
            parts.retain.len()
        ));
    }
    warnings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lost_or_doubled_index_is_a_bug() {
        let parts = SplitIndices { retain: vec![0, 1], forget: vec![1, 2], ..SplitIndices::default() };
        assert_eq!(check_disjoint(&parts, 3).unwrap_err().kind(), ErrorKind::Bug);
        let parts = SplitIndices { retain: vec![0], forget: vec![2], ..SplitIndices::default() };
        assert_eq!(check_disjoint(&parts, 3).unwrap_err().kind(), ErrorKind::Bug);
        let parts = SplitIndices { retain: vec![0, 1], forget: vec![2], ..SplitIndices::default() };
        assert!(check_disjoint(&parts, 3).is_ok());
    }
}
