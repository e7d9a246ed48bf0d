//! The unlearning methods: a [`registry`], and one file or folder for each method.
//!
//! To add a method, write its file (a settings struct and a [`Method`](crate::train::Method)) and its line in
//! [`registry::REGISTRY`].

pub mod amun;
mod concatenation;
pub mod finetune;
pub mod fisher;
mod forget_samples;
pub mod l1sparse;
pub mod lur;
pub mod neggrad;
pub mod neggradp;
pub mod registry;
pub mod regun;
mod saliency;
pub mod salun;
pub mod scrub;
mod settings;
pub mod ssd;

pub use registry::{MethodInfo, REGISTRY, build, info};
