//! Parse, join the other ranks, start the log, run, and turn an error into its exit code.

use std::rc::Rc;

use clap::Parser;
use regun::cli::Cli;
use regun::distributed::{launch, process};
use regun::run::{Options, run};

fn main() {
    regun::torch::keep_freed_memory();
    let cli = Cli::parse();
    process::end_on_panic();
    let world = match launch::start() {
        Ok(world) => Rc::new(world),
        Err(error) => {
            regun::log::init(cli.verbose, true);
            process::fail(&error);
        }
    };
    regun::log::init(cli.verbose, world.is_root());
    let options = Options {
        world: Rc::clone(&world),
        config_dir: cli.config_dir,
        config_name: cli.config_name,
        json: cli.json,
        quiet: false,
    };
    // The world is alive here: to fail is to end all ranks, which MPI allows only before it is finalized.
    // Rank 0 may still be writing when others are done: the job is done when all are.
    if let Err(error) = run(&cli.command, &options).and_then(|()| world.barrier()) {
        process::fail(&error);
    }
}
