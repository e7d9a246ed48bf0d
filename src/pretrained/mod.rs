//! Initial weights that were trained on ImageNet: torchvision checkpoints.
//!
//! | module | holds |
//! | --- | --- |
//! | [`initial_state`](mod@initial_state) | the initial state of a training: tensors of the file, and fresh layers |
//! | [`published`] | the weights that torchvision publishes, and their download |

pub mod initial_state;
pub mod published;

pub use initial_state::{check, initial_state, weights_file};
