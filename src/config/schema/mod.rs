//! The typed configuration: plain data, one file for each section.
//!
//! Field names are the keys that a user types. A key that a type does not list is an error. Durations are in epochs
//! unless a name says otherwise. A method's own keys stay a `Section` until the method reads them.

mod data;
mod devices;
mod forms;
mod launch;
mod limits;
mod model;
mod optim;
mod root;
mod split;
mod trainer;
mod transforms;
mod unlearn;

pub use data::{BatchScope, DataConfig, DatasetName};
pub use devices::DevicesConfig;
pub use launch::{BucketOrder, Compression, LaunchConfig};
pub use limits::{BatchLimit, FastDevRun};
pub use model::{ModelConfig, ModelGroup, Stem};
pub use optim::{OptimConfig, OptimName, SchedulerConfig, SchedulerName};
pub use root::{CheckpointConfig, CompatConfig, Config, LoggingConfig, MulEvalConfig, PathsConfig, RunConfig};
pub use split::{Scheme, SplitConfig};
pub use trainer::{Accelerator, CudaGraphMode, Precision, TrainerConfig};
pub use transforms::{
    ColorJitterConfig, ErasingValue, HorizontalFlipConfig, ImagenetResizeConfig, NormalizeConfig, RandAugmentConfig,
    RandomCropConfig, RandomErasingConfig, TransformsConfig,
};
pub use unlearn::UnlearnConfig;
