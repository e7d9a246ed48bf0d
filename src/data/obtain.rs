//! A data set on every rank.

use super::archives;
use super::source::{self, Dataset, LoadOptions};
use crate::config::schema::DataConfig;
use crate::distributed::World;
use crate::error::Result;

/// Reads the data set, which rank 0 downloads first where it is absent and `data.download` is true.
///
/// # Errors
/// `Missing` where the data cannot be had, are damaged, or are not seen by this rank's machine.
pub fn obtain(data: &DataConfig, options: LoadOptions<'_>, world: &World) -> Result<Dataset> {
    let downloads = world.is_root();
    world.root_first(|| {
        archives::provide(data, downloads)?;
        source::load(data, options)
    })
}
