//! The error of a malformed pickle.

use crate::error::Error;

/// The input is not a valid pickle, or not one of the expected data. Of kind `Missing`.
pub(super) fn damaged(message: impl Into<String>) -> Error {
    Error::missing(message).hint("the file is damaged, or is not what its name says: fetch or unpack it again")
}
