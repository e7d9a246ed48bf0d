//! How results are written for people and for programs: [`table`] and [`json`]. Shapes only; nothing is computed or
//! stored here.

pub mod json;
pub mod table;

pub use table::{Column, summary};
