//! Training: one loop ([`trainer`]) for base, retrained, reference and unlearned models alike; what differs is the
//! [`Method`].

mod graph_capture;
pub mod loss;
pub mod meter;
pub mod method;
pub mod mixed;
pub mod model;
mod phase;
pub mod reduce;
pub mod supervised;
pub mod trainer;
mod update;

pub use method::{Drawn, Method, Pass, Phase, Step, Term};
pub use mixed::Mixed;
pub use model::Model;
pub use trainer::{EpochReport, Observer, Settings, StepReport, Trainer};
