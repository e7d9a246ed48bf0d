//! The commands, each a straight-line recipe. Only this module uses all others.
//!
//! | module | holds |
//! | --- | --- |
//! | [`explain`] | better errors for some mistakes on the command line |
//! | [`Options`], `output` | command-line options, printing on standard output |
//! | `environment` | variables that libraries read when they start: before any thread |
//! | `setup`, `devices` | threads, numerics and device: once per process |
//! | `prepared_data` | data set, split and device dataset: once per data configuration |
//! | `session`, `folder`, `run_facts`, `results` | one run: configuration, data, architecture, run folder, facts, results |
//! | `identity`, `checkpoint_check`, `model_files`, `weights` | the identity of a model; loading and saving models |
//! | `limits` | limits of validation and test, as numbers of samples |
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
mod environment;
mod evaluate;
mod folder;
mod identity;
mod limits;
mod mistakes;
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
mod results;
mod run_facts;
mod session;
mod setup;
mod show;
mod training;
mod training_progress;
mod unlearn;
mod weights;

use crate::cli::Command;
use crate::error::{Error, Result};

pub use environment::prepare as prepare_environment;
pub use mistakes::explain;
pub use options::Options;

/// Runs one command.
pub fn run(command: &Command, options: &Options) -> Result<()> {
    if let Some(overrides) = command.overrides() {
        match (options.cfg, options.info) {
            (Some(_), Some(_)) => {
                return Err(Error::usage("--cfg and --info are given together").hint("give one of them"));
            }
            (Some(part), None) => return show::cfg(options, overrides, part),
            (None, Some(part)) => return show::info(options, overrides, part),
            (None, None) => {}
        }
    }
    if (options.resolve || options.package.is_some()) && !matches!(command, Command::Config { .. }) {
        return Err(Error::usage("--resolve and --package belong to --cfg or to the command `config`")
            .hint("`--cfg job` prints the configuration of this command"));
    }
    match command {
        Command::Reference { run_idx, overrides } => reference::run(options, overrides, *run_idx),
        Command::Base { references, overrides } => base::run(options, overrides, *references),
        Command::Unlearn { references, overrides } => unlearn::run(options, overrides, *references),
        Command::Evaluate { checkpoint, references, overrides } => {
            evaluate::run(options, overrides, checkpoint, *references)
        }
        Command::Pipeline { methods, overrides } => pipeline::run(options, overrides, methods),
        Command::Convert { source, target, force } => convert::run(options, source, target, *force),
        Command::Splits { overrides } => show::splits(options, overrides),
        Command::Doctor { overrides } => doctor::run(options, overrides),
        Command::Config { overrides } => show::config(options, overrides),
    }
}
