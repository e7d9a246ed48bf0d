//! LUR: unlearns at the weights that the next retain step would lead to (Patel and Qiu 2025, arXiv 2503.06339).
//! [`method`] describes it; [`snip`] re-initialises weights before the training.

pub mod method;
pub mod snip;

pub use method::{Lur, LurSettings};
