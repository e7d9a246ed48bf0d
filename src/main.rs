//! Parse, start the log, run, and turn an error into its exit code.

use std::process::ExitCode;

use clap::Parser;
use regun::cli::Cli;
use regun::error::Kind;
use regun::run::{Options, run};

fn main() -> ExitCode {
    regun::torch::keep_freed_memory();
    let cli = Cli::parse();
    regun::log::init(cli.verbose);
    end_on_panic();
    let options = Options { config_dir: cli.config_dir, config_name: cli.config_name, json: cli.json, quiet: false };
    match run(&cli.command, &options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error}");
            ExitCode::from(u8::try_from(error.kind().exit_code()).unwrap_or(1))
        }
    }
}

/// A panic is a bug of ours: say so and leave at once. Unwinding would run destructors that wait for other ranks.
fn end_on_panic() {
    std::panic::set_hook(Box::new(|panic| {
        eprintln!("error: internal error, a bug in regun: {panic}");
        eprintln!("hint: please report it with the command line and the run's config.yaml");
        std::process::exit(Kind::Bug.exit_code());
    }));
}
