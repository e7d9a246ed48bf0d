//! Splits the training images into forget, retain, held-out and validation. The split is a pure function of the labels
//! and the `split` settings. The indices are exactly those of the Python program.
//!
//! Held-out is cut first, from all images. Validation and forget are fractions of the remaining ones, and the rest is
//! retain, without regard to `retain_frac`. Sizes are rounded half to even, like Python's `round`.

mod checked;
mod cut;
mod indices;

pub use checked::split;
pub use cut::cut;
pub use indices::{SplitIndices, digest};
