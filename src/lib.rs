//! regun makes image classifiers forget chosen training data, and measures the result.
//!
//! Dependencies point downwards; `ARCHITECTURE.md` follows one batch through the program. Each module imports only from
//! modules below it, and from [`error`].
//!
//! | module | holds |
//! | --- | --- |
//! | [`run`] | the commands: one file each, which may use all other modules |
//! | [`cli`] | the command line |
//! | [`report`] | the summary table, JSON |
//! | [`unlearn`] | the unlearning methods: a registry, one file each |
//! | [`eval`] | metrics from logits |
//! | [`train`] | the only training loop, and the trait of a training method |
//! | [`inference`] | a model run over a part of the data |
//! | [`pretrained`] | ImageNet weights: published files, initial state |
//! | [`optim`] | update rules on flat buffers, learning-rate schedules |
//! | [`models`] | architectures as pure functions of weights and input; states as named tensors |
//! | [`data`] | files to batches: data sets, splits, samplers, loaders, augmentation |
//! | [`names`] | file names of checkpoints and caches |
//! | [`checkpoint`] | model files: ours, PyTorch's, Lightning's; identity and provenance |
//! | [`distributed`] | ranks: collectives, placement on GPUs, watchdog |
//! | [`fetch`] | downloads, locks, archives |
//! | [`config`] | typed configuration, its checks, the built-in files |
//! | [`hydra`] | Hydra's composition, override grammar and interpolation |
//! | [`torch`] | functions of libtorch that tch lacks; all unsafe code but NCCL's and the maps in [`data::pack`] |
//! | [`random`] | Philox streams by key, and CPython's generator |
//! | [`pickle`] | Python pickles, read as data and never executed |
//! | [`progress`] | progress bars and lines |
//! | [`shell`] | words quoted for a shell |
//! | [`memory`] | main memory of the machine and of the process |
//! | [`log`] | messages to standard error and to `train.log` |
//! | [`files`] | atomic writes, free space |
//! | [`folders`] | the names in a folder of a data set |
//! | [`home`] | the home folder at the head of a path |
//! | [`digest`] | SHA-256 as text |
//! | [`error`] | one error type with message, hint and exit code |

pub mod checkpoint;
pub mod cli;
pub mod config;
pub mod data;
pub mod digest;
pub mod distributed;
pub mod error;
pub mod eval;
pub mod fetch;
pub mod files;
pub mod folders;
pub mod home;
pub mod hydra;
pub mod inference;
pub mod log;
pub mod memory;
pub mod models;
pub mod names;
pub mod optim;
pub mod pickle;
pub mod pretrained;
pub mod progress;
pub mod random;
pub mod report;
pub mod run;
pub mod shell;
pub mod torch;
pub mod train;
pub mod unlearn;

// Unit tests on several ranks use the same helpers as the tests of the program.
#[cfg(test)]
#[path = "../tests/as_ranks/mod.rs"]
mod as_ranks;
#[cfg(test)]
#[path = "../tests/mpirun/mod.rs"]
mod mpirun;
