//! Random brightness, contrast, saturation and hue, in random order: torchvision's `ColorJitter` on float images.
//!
//! Colour jitter is a few arithmetic operations per pixel. As operations on tensors they are limited by memory
//! bandwidth and by the number of kernels. A GPU hides that ([`tensor`]), a CPU does not ([`host`]). Both give the same
//! result up to rounding.

mod apply;
mod change;
pub mod host;
pub mod tensor;

pub use apply::apply;
pub use change::{ColorChange, ColorJitter, Jitter};
