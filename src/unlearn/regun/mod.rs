//! ReGUn, Reference-Guided Unlearning (Mirlach, Vogt, Laguna 2026, arXiv 2603.11210). [`method`] describes it;
//! [`selector`] chooses the held-out images of a step.

pub mod method;
pub mod selector;

pub use method::{Aggregation, ReGUn, ReGUnSettings};
