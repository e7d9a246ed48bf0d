//! Checks of `data`.

use super::checker::ConfigChecker;
use crate::config::schema::DataConfig;
use crate::error::Result;

/// Checks `data` except its transforms.
///
/// # Errors
/// A value out of its range.
pub(super) fn check_data(check: &ConfigChecker, data: &DataConfig) -> Result<()> {
    check.at_least(data.batch_size, 1, "data.batch_size")?;
    check.at_least(data.eval_batch_size, 1, "data.eval_batch_size")?;
    check.at_least(data.num_classes, 2, "data.num_classes")?;
    check.at_least(data.debug_subset_size.unwrap_or(1), 1, "data.debug_subset_size")?;
    check.at_least(data.image_size.unwrap_or(1), 1, "data.image_size")?;
    Ok(())
}
