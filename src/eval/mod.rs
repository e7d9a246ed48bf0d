//! Measures a model after unlearning. Only [`collect`] runs the model, once per part of the data; every metric is
//! arithmetic on those logits.
//!
//! | module | holds |
//! | --- | --- |
//! | [`logits`] | logits and labels of one part, softmax, predicted classes |
//! | [`collect`] | logits of a model, gathered at rank 0 |
//! | [`performance`] | accuracy and entropy |
//! | [`privacy`], [`roc`] | membership inference attacks and their ROC curves |
//! | [`divergence`], [`gap`] | distances from the retrained model |
//! | [`metric_map`], [`metrics`] | named metrics, and the function that computes all of them |
//! | [`flags`] | warnings about over-unlearning |
//! | [`evaluator`] | evaluates models against the reference models and the retrained baseline |

pub mod collect;
pub mod divergence;
pub mod evaluator;
pub mod flags;
pub mod gap;
pub mod logits;
pub mod metric_map;
pub mod metrics;
pub mod performance;
pub mod privacy;
pub mod roc;

pub use evaluator::Evaluator;
pub use logits::Logits;
pub use metric_map::Metrics;
pub use metrics::{ModelLogits, ReferenceProbabilities, evaluate};
