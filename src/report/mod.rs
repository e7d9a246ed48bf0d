//! Formats of results: [`summary`] for people, [`json`] for programs. The module computes no metric and writes no file.

pub mod json;
pub mod summary;

pub use summary::{SummaryColumn, summary};
