//! Training: one loop ([`trainer`]) for base, retrained, reference and unlearned models alike; what differs is the
//! [`Method`].

pub mod loss;
pub mod meter;
pub mod method;
pub mod model;
pub mod reduce;
pub mod supervised;
pub mod trainer;

pub use method::{Method, Pass, Phase, Step, Term};
pub use model::Model;
pub use trainer::{EpochReport, Observer, Settings, StepReport, Trainer};
