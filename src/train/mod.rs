//! Training: one loop ([`Trainer`]) for base, retrained, reference and unlearned models. A [`Method`] is the part that
//! differs between them.
//!
//! | module | holds |
//! | --- | --- |
//! | [`trainer`] | the only training loop, over phases and epochs |
//! | `phase_run` | the epochs, passes and steps of one phase |
//! | `phase_loaders` | the data loaders of one phase |
//! | [`plan`](mod@plan) | the number of steps, computed before the training |
//! | `update` | one optimizer step: forward, backward, all-reduce, clipping, update |
//! | `graph_capture`, [`graph_obstacle`](mod@graph_obstacle) | steps as CUDA graphs; reasons against it |
//! | [`gradient_all_reduce`] | the all-reduce of gradients while the backward pass runs |
//! | [`method`], [`phase`], [`step`], [`term`] | the interface of a training method |
//! | [`supervised`] | ordinary training with cross entropy |
//! | [`settings`], [`context`] | training settings, and the context that methods get |
//! | [`observer`] | reports of steps and epochs |
//! | [`meter`], [`accuracy`] | losses and accuracy of an epoch |
//! | [`loss`], [`cross_entropy`] | loss sums; the term that most methods have |
//! | [`mixed`] | mixed precision and the loss scale |

pub mod accuracy;
pub mod context;
pub mod cross_entropy;
pub mod gradient_all_reduce;
mod graph_capture;
pub mod graph_obstacle;
pub mod loss;
pub mod meter;
pub mod method;
pub mod mixed;
pub mod observer;
pub mod phase;
mod phase_loaders;
mod phase_run;
pub mod plan;
pub mod settings;
pub mod step;
pub mod supervised;
pub mod term;
pub mod trainer;
mod update;

pub use accuracy::AccuracyCounts;
pub use context::TrainContext;
pub use gradient_all_reduce::AllReduceSettings;
pub use graph_obstacle::graph_obstacle;
pub use method::Method;
pub use mixed::Mixed;
pub use observer::{EpochReport, Observer, StepReport};
pub use phase::{Pass, Phase};
pub use phase_loaders::limited;
pub use plan::{PhasePlan, plan};
pub use settings::TrainSettings;
pub use step::{Drawn, Step};
pub use term::Term;
pub use trainer::Trainer;
