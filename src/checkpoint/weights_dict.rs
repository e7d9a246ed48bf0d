//! A dict of names and tensors in a file, and the tensors that an architecture wants.

use tch::Tensor;

use crate::error::Error;

/// A tensor of an architecture: its name, and its shape if that is fixed.
pub type WantedTensor<'a> = (&'a str, Option<&'a [i64]>);

/// A dict of names and tensors in a file.
pub struct WeightsDict {
    /// Its keys from the root of the file on, joined by points. Empty for the root itself.
    pub path: String,
    pub tensors: Vec<(String, Tensor)>,
    /// It can be the weights: no other dict in the file is better suited.
    pub preferred: bool,
    /// The reason why it cannot be used.
    pub fault: Option<Error>,
}
