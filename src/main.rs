//! Parses the command line, sets the environment of libraries, joins the other ranks, starts the log, runs the command,
//! and turns an error into its exit code.

use std::rc::Rc;

use regun::cli::{self, Cli};
use regun::distributed::{launch, process};
use regun::run::{Options, explain, prepare_environment, run};

fn main() {
    regun::torch::keep_freed_memory();
    if let Err(error) = cli::check_encoding(std::env::args_os()) {
        regun::log::init(0, true);
        process::fail(&error);
    }
    let arguments: Vec<_> = std::env::args_os().collect();
    let cli = match Cli::read(arguments.clone()) {
        Ok(cli) => cli,
        Err(mistake) => match explain(&mistake, &arguments) {
            Some(error) => {
                eprintln!("error: {error}");
                std::process::exit(error.kind().exit_code());
            }
            None => mistake.exit(),
        },
    };
    process::end_on_panic();
    let prepared = prepare_environment(&cli);
    let world = match prepared.and_then(|()| launch::start()) {
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
        config_path: cli.config_path,
        config_name: cli.config_name,
        cfg: cli.cfg,
        info: cli.info,
        package: cli.package,
        resolve: cli.resolve,
        weights_key: cli.weights_key,
        json: cli.json,
    };
    // Rank 0 may still be writing when the others are done, so all ranks wait for each other. A failure ends all ranks;
    // MPI allows that only before it is finalized, so `world` must still be alive here.
    if let Err(error) = run(&cli.command, &options).and_then(|()| world.barrier()) {
        process::fail(&error);
    }
}
