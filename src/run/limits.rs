//! Limits of validation and test (`trainer.limit_val_batches`, `trainer.limit_test_batches`) as numbers of samples.

use crate::config::schema::{BatchLimit, Config};
use crate::error::Result;
use crate::train::limited;

/// The samples of a part of `samples` that the value `limit` of `key` leaves, in batches of `data.batch_size`.
///
/// # Errors
/// `Usage` for a fraction that leaves no whole batch.
pub fn limited_samples(config: &Config, limit: BatchLimit, key: &str, samples: usize) -> Result<usize> {
    let batch = config.data.batch_size;
    let batches = limited(limit, samples.div_ceil(batch), key, "the part")?;
    Ok(samples.min(batches * batch))
}
