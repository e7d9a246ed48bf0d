//! Formats of results: [`results`] in one shape for all commands, as a [`summary`] for people and as [`json`] for
//! programs. The module computes no metric and writes no file.

pub mod json;
pub mod results;
pub mod summary;

pub use results::{ModelResult, Results};
pub use summary::summary;
