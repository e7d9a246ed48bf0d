//! The commands, each a straight-line recipe. Only this module uses all others.
//!
//! | module | holds |
//! | --- | --- |
//! | [`Options`], `output` | command-line options, printing on standard output |
//! | `setup`, `devices` | threads, numerics and device: once per process |
//! | `prepared_data` | data set, split and device dataset: once per data configuration |
//! | `session`, `folder` | one run: configuration, data, architecture, run folder, flags, results |
//! | `identity`, `checkpoint_check`, `model_files` | the identity of a model; loading and saving models |
//! | `training`, `observer`, `training_progress` | training a model, with progress and `metrics.jsonl` |
//! | `overview`, `overview_table` | the table at the start of a run |
//! | `references` | reference models and retrained baseline |
//! | `reference`, `base`, `unlearn`, `evaluate`, `pipeline` | the commands that need data and models |
//! | `convert`, `show`, `doctor` | the other commands |

mod base;
mod checkpoint_check;
mod convert;
mod devices;
mod doctor;
mod evaluate;
mod folder;
mod identity;
mod model_files;
mod observer;
mod options;
mod output;
mod overview;
mod overview_table;
mod pipeline;
mod prepared_data;
mod reference;
mod references;
mod session;
mod setup;
mod show;
mod training;
mod training_progress;
mod unlearn;

use crate::cli::Command;
use crate::error::Result;

pub use options::Options;

/// Runs one command.
pub fn run(command: &Command, options: &Options) -> Result<()> {
    match command {
        Command::Reference { run_idx, overrides } => reference::run(options, overrides, *run_idx),
        Command::Base { overrides } => base::run(options, overrides),
        Command::Unlearn { overrides } => unlearn::run(options, overrides),
        Command::Evaluate { checkpoint, overrides } => evaluate::run(options, overrides, checkpoint),
        Command::Pipeline { methods, overrides } => pipeline::run(options, overrides, methods),
        Command::Convert { source, target, force } => convert::run(options, source, target, *force),
        Command::Splits { overrides } => show::splits(options, overrides),
        Command::Doctor { overrides } => doctor::run(options, overrides),
        Command::Config { resolve, overrides } => show::config(options, overrides, *resolve),
    }
}
