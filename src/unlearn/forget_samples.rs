//! The forget samples, for methods that cannot run without any.

use crate::data::{DeviceDataset, Part};
use crate::error::{Error, Result};

/// Indices of the forget samples in the data set. `method` is the method's choice in the configuration group `unlearn`.
///
/// # Errors
/// `Usage` if the split leaves none.
pub fn forget_samples<'d>(dataset: &'d DeviceDataset, method: &str) -> Result<&'d [usize]> {
    match dataset.indices(Part::Forget) {
        [] => Err(Error::usage(format!("unlearn={method}: the split leaves no `forget` samples"))
            .hint("look at the sizes with `regun splits`, and change split.forget_frac")),
        samples => Ok(samples),
    }
}
