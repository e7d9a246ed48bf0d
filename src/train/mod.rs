//! Training: one loop ([`trainer`]) for base, retrained, reference and unlearned models alike; what differs is the
//! [`Method`].

mod graph_capture;
pub mod loss;
mod macro_accuracy;
pub mod meter;
pub mod method;
pub mod mixed;
mod phase;
pub mod reduce;
pub mod supervised;
pub mod trainer;
mod update;

pub use macro_accuracy::MacroAccuracy;
pub use method::{Drawn, Method, Pass, Phase, Step, Term};
pub use mixed::Mixed;
pub use trainer::{EpochReport, Observer, Settings, StepReport, Trainer};
