//! regun makes image classifiers forget chosen training data, and measures the result.
//!
//! Dependencies point downwards; `ARCHITECTURE.md` follows one batch through the program.
//!
//! | module | holds |
//! | --- | --- |
//! | [`cli`] | the command line |
//! | [`run`] | the commands: straight-line recipes that may use all other modules |
//! | [`unlearn`] | the unlearning methods, one file each |
//! | [`eval`] | metrics from logits |
//! | [`train`], [`inference`] | the only training loop, and the trait of a method; a model run over a part of the data |
//! | [`report`] | tables and JSON |
//! | [`optim`], [`models`], [`data`] | update rules, architectures, batches |
//! | [`checkpoint`], [`names`], [`pretrained`] | model files and their file names; published ImageNet weights |
//! | [`distributed`] | the ranks: shards, collectives |
//! | [`config`] | the configuration: files, typed keys, checks |
//! | [`hydra`] | Hydra's composition, overrides and interpolations |
//! | [`torch`] | functions of libtorch that tch lacks; all unsafe code but NCCL's and the map in [`data::pixels`] |
//! | [`random`] | random numbers as functions of a key, and CPython's generator |
//! | [`fetch`] | downloads and archives |
//! | [`pickle`] | Python pickles, read as data and never executed |
//! | [`error`], [`files`], [`digest`] | errors and exit codes, atomic writes, checksums |
//! | [`log`], [`progress`], [`memory`] | the log, progress of long work, main memory |

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
pub mod torch;
pub mod train;
pub mod unlearn;
