//! The commands: straight-line recipes, and the only place that sees everything.

mod base;
mod convert;
mod devices;
mod doctor;
mod evaluate;
mod folder;
mod foreign;
mod identity;
mod pipeline;
mod reference;
mod references;
mod session;
mod show;
mod training;
mod unlearn;
mod watch;

pub use session::Options;

use std::io::Write;

use serde_json::Value;

use crate::cli::Command;
use crate::error::{Error, Result};

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

/// Prints a result on standard output. A closed pipe or a full disk is an error, not a panic.
fn print(text: &str) -> Result<()> {
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).map_err(|source| {
        let error = Error::storage("cannot write to", "standard output".as_ref(), &source);
        match source.kind() {
            std::io::ErrorKind::BrokenPipe => {
                error.hint("whatever reads the output ended before all of it was written")
            }
            _ => error,
        }
    })
}

/// Prints a result as one JSON object.
fn print_json(value: &Value) -> Result<()> {
    print(&format!("{value}\n"))
}
