//! The diagonal of the empirical Fisher information ([`diagonal`]), and two exact ways to compute the gradients of
//! single samples: [`layers`] is the fast one, [`vmap`] works for any architecture.

pub mod diagonal;
pub mod layers;
pub mod vmap;

pub use diagonal::{squared_gradient_sums, squared_gradients};
