//! How well a model forgot: logits are collected once per part ([`collect`]), everything else is arithmetic on them.

pub mod collect;
pub mod divergence;
pub mod evaluator;
pub mod gap;
pub mod logits;
pub mod metrics;
pub mod performance;
pub mod privacy;
pub mod roc;

pub use evaluator::Evaluator;
pub use logits::Logits;
pub use metrics::{Metrics, ModelLogits, References, evaluate};
