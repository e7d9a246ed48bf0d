//! The check of saliencies, for the methods that choose weights by them.

use tch::{Kind, Tensor};

use crate::error::{Error, ErrorKind, Result};

/// Checks that all values of a saliency are finite. `method` is the method's choice in the configuration group
/// `unlearn`.
///
/// # Errors
/// `NonFinite` if one is not.
pub fn check_finite(saliency: &Tensor, method: &str) -> Result<()> {
    if saliency.f_sum(Kind::Double)?.f_double_value(&[])?.is_finite() {
        return Ok(());
    }
    Err(Error::new(ErrorKind::NonFinite, format!("unlearn={method}: the saliency of the base model is not finite"))
        .hint("check the base model: its loss on forget overflows"))
}
