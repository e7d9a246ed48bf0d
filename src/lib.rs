//! regun makes image classifiers forget chosen training data, and measures how well they forgot.
//!
//! Dependencies point downwards; `ARCHITECTURE.md` follows one batch through the program.
//!
//! | module | owns |
//! | --- | --- |
//! | [`cli`] | the command line |
//! | [`run`] | the commands: straight-line recipes, the only place that sees everything |
//! | [`unlearn`] | the unlearning methods, one file each |
//! | [`eval`] | logits in, metrics out |
//! | [`train`] | the only training loop, and what a method is |
//! | [`report`] | tables and JSON |
//! | [`optim`], [`models`], [`data`] | update rules, architectures, batches |
//! | [`checkpoint`], [`names`] | model files and what they are called |
//! | [`distributed`] | the ranks: shares, sums, who writes |
//! | [`config`] | the configuration: files, typed keys, checks |
//! | [`hydra`] | Hydra's composition, overrides and interpolations |
//! | [`torch`] | what tch lacks; the unsafe code, but for the map of a file in [`data::pixels`] |
//! | [`random`] | keyed randomness, and CPython's |
//! | [`fetch`] | files from elsewhere: downloads, archives |
//! | [`pickle`] | Python pickles as data, never executed |
//! | [`error`], [`files`], [`digest`] | messages with exit codes, atomic files, checksums |
//! | [`log`], [`progress`], [`memory`] | the log, bars and lines for long work, how much memory there is |

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
