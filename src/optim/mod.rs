//! Optimizers as pure updates of flat buffers, and learning-rate schedules as pure functions of the epoch.
//!
//! | module | holds |
//! | --- | --- |
//! | [`flat_params`] | parameters and gradients as views of one buffer per weight decay; clipping |
//! | [`flat_layout`], [`param`], [`buckets`] | positions in the buffers; buckets for the all-reduce |
//! | [`weight_decay`] | the weight decay of each parameter |
//! | [`optimizer`], [`registry`] | the trait of all update rules; the choice of a rule by the configuration |
//! | [`sgd`], [`adamw`] | update rules |
//! | [`moments`] | an optimizer's running averages, saved by parameter name |
//! | [`schedule`] | the learning rate of an epoch |

pub mod adamw;
pub mod buckets;
pub mod flat_layout;
pub mod flat_params;
pub mod moments;
pub mod optimizer;
pub mod param;
pub mod registry;
pub mod schedule;
pub mod sgd;
pub mod weight_decay;

pub use buckets::{Bucket, BucketSizes};
pub use flat_layout::FlatLayout;
pub use flat_params::{FlatParams, ParamGroup};
pub use optimizer::Optimizer;
pub use param::{Param, ParamSpec};
pub use registry::{build, num_moments};
pub use weight_decay::WeightDecayGroups;
