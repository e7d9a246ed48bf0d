//! AMUN: trains on adversarial images near the forget images (Ebrahimpour-Boroojeny et al. 2025, arXiv 2503.00917).
//! [`method`] describes it; [`attack`] finds the images.

pub mod attack;
pub mod method;

pub use attack::PgdAttack;
pub use method::{AdversarialSet, Amun, AmunSettings};
