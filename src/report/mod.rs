//! Formats results: [`table`] for people, [`json`] for programs. Nothing is computed or stored here.

pub mod json;
pub mod table;

pub use table::{SummaryColumn, summary};
