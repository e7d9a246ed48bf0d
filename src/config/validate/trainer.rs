//! Checks of `trainer` and `launch`.

use super::checker::ConfigChecker;
use crate::config::schema::{LaunchConfig, TrainerConfig};
use crate::error::Result;
use crate::hydra::join;

/// Checks `trainer`.
///
/// # Errors
/// A value out of its range.
pub(super) fn check_trainer(check: &ConfigChecker, trainer: &TrainerConfig) -> Result<()> {
    check.at_least(trainer.accumulate_grad_batches, 1, "trainer.accumulate_grad_batches")?;
    if let Some(norm) = trainer.gradient_clip_val {
        check.that(
            norm > 0.0 && norm.is_finite(),
            "trainer.gradient_clip_val",
            "a number above 0, or 0 or null for no clipping",
        )?;
    }
    check.at_least(trainer.threads.unwrap_or(1), 1, "trainer.threads")
}

/// Checks `launch`.
///
/// # Errors
/// A value out of its range.
pub(super) fn check_launch(check: &ConfigChecker, launch: &LaunchConfig) -> Result<()> {
    let limit = launch.timeout_seconds;
    check.that(limit > 0.0 && limit <= 1e9, "launch.timeout_seconds", "a number of seconds above 0, at most 1e9")?;
    for (key, size) in [("bucket_mib", launch.bucket_mib), ("first_bucket_mib", launch.first_bucket_mib)] {
        check.that(size > 0.0 && size <= 1e6, &join("launch", key), "a number above 0, at most 1e6")?;
    }
    Ok(())
}
