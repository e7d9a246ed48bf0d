//! A data set on every rank: downloaded by rank 0, then read by all.

use super::archives;
use super::host_dataset::Dataset;
use super::load::{LoadOptions, load_dataset};
use crate::config::schema::DataConfig;
use crate::distributed::World;
use crate::error::Result;

/// Reads the data set on every rank. If it is absent and `data.download` is true, rank 0 downloads it first.
///
/// # Errors
/// `Missing` if the data cannot be downloaded, are damaged, or cannot be seen from this rank's machine.
pub fn obtain(data: &DataConfig, options: LoadOptions<'_>, world: &World) -> Result<Dataset> {
    let downloads = world.is_root();
    world.root_first(|| {
        archives::provide(data, downloads)?;
        load_dataset(data, options)
    })
}
