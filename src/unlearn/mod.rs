//! The unlearning methods: a closed [`registry`], one file or folder each.
//!
//! To add one, write its file (a settings struct and a [`Method`](crate::train::Method)) and its line in
//! [`registry::REGISTRY`].

pub mod amun;
mod concatenation;
pub mod finetune;
pub mod fisher;
pub mod l1sparse;
pub mod lur;
pub mod neggrad;
pub mod neggradp;
pub mod registry;
pub mod regun;
pub mod salun;
pub mod scrub;
mod settings;
pub mod ssd;

pub use registry::{MethodInfo, REGISTRY, build, info};
