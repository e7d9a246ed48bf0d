//! Checks of `split`.

use super::checker::ConfigChecker;
use crate::config::schema::{Scheme, SplitConfig};
use crate::error::Result;

/// Checks `split`, for a data set of `num_classes` classes.
///
/// # Errors
/// A value out of its range, a class given twice.
pub(super) fn check_split(check: &ConfigChecker, split: &SplitConfig, num_classes: i64) -> Result<()> {
    check.fraction(split.heldout_frac, "split.heldout_frac")?;
    check.fraction(split.validation_frac, "split.validation_frac")?;
    check.fraction(split.retain_frac, "split.retain_frac")?;
    check.fraction(split.forget_frac, "split.forget_frac")?;
    if split.scheme == Scheme::Class {
        let classes = &split.forget_classes;
        let inside = !classes.is_empty() && classes.iter().all(|class| (0..num_classes).contains(class));
        let last = num_classes - 1;
        check.that(inside, "split.forget_classes", &format!("a list of classes from 0 to {last}"))?;
        let mut sorted = classes.clone();
        sorted.sort_unstable();
        let distinct = sorted.windows(2).all(|pair| pair[0] != pair[1]);
        check.that(distinct, "split.forget_classes", "each class once")?;
    }
    Ok(())
}
