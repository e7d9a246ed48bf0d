//! Formats of results: [`table`] for people, [`json`] for programs. The module computes no metric and writes no file.

pub mod json;
pub mod table;

pub use table::{SummaryColumn, summary};
