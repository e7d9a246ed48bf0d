//! Training that starts from weights which were trained on ImageNet: torchvision checkpoints.
//!
//! | module | holds |
//! | --- | --- |
//! | [`start`](mod@start) | the state that training starts from: file and fresh layers together |
//! | [`published`] | the weights that torchvision publishes, and their download |

pub mod published;
pub mod start;

pub use start::{check, file, start};
