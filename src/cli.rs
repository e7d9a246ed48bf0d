//! The command line: commands and their options.

use std::path::PathBuf;

use clap::{ArgAction, Parser, Subcommand};

#[derive(Debug, Parser)]
#[command(name = "regun", version, about, max_term_width = 110)]
pub struct Cli {
    /// Folder searched for configuration files before the built-in ones.
    #[arg(long, short = 'c', global = true, value_name = "DIR")]
    pub config_dir: Option<PathBuf>,

    /// Configuration file to start from, without `.yaml`.
    #[arg(long, global = true, value_name = "NAME", default_value = "config")]
    pub config_name: String,

    /// Print the result as one JSON object.
    #[arg(long, global = true)]
    pub json: bool,

    /// Log more: -v for details, -vv for everything.
    #[arg(long, short, global = true, action = ArgAction::Count)]
    pub verbose: u8,

    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Train reference model N on retain data (step 1); RMIA is calibrated with them.
    #[command(alias = "run1", after_help = "Example: regun reference --run-idx 1 data=cifar10 split.forget_frac=0.1")]
    Reference {
        /// Number of the reference model, from 1 to mul_eval.mia_num_models.
        #[arg(long, value_name = "N")]
        run_idx: usize,
        /// Configuration overrides: group=choice, key=value, +key=value, ~key.
        overrides: Vec<String>,
    },
    /// Train the base and the retrained model and evaluate both (step 2).
    #[command(alias = "run2", after_help = "Example: regun base data=cifar10 split.forget_frac=0.1")]
    Base {
        /// Configuration overrides: group=choice, key=value, +key=value, ~key.
        overrides: Vec<String>,
    },
    /// Make the base model forget with one method and evaluate it (step 3).
    #[command(alias = "run3", after_help = "Example: regun unlearn unlearn=regun data=cifar10 split.forget_frac=0.1")]
    Unlearn {
        /// Configuration overrides: group=choice, key=value, +key=value, ~key.
        overrides: Vec<String>,
    },
    /// Evaluate any checkpoint that fits the configuration.
    #[command(
        after_help = "Example: regun evaluate --checkpoint outputs/2026-11-23/10-00-00/unlearned.safetensors data=cifar10 split.forget_frac=0.1"
    )]
    Evaluate {
        /// The checkpoint. Give the overrides that it was trained with.
        #[arg(long, value_name = "PATH")]
        checkpoint: PathBuf,
        /// Configuration overrides: group=choice, key=value, +key=value, ~key.
        overrides: Vec<String>,
    },
    /// Run all steps, skipping models that exist already, and print a table.
    #[command(after_help = "Example: regun pipeline experiment=demo --methods regun,finetune")]
    Pipeline {
        /// Unlearning methods, separated by commas, or `all`; without it the configured one.
        #[arg(long, value_name = "NAMES", value_delimiter = ',')]
        methods: Vec<String>,
        /// Configuration overrides: group=choice, key=value, +key=value, ~key.
        overrides: Vec<String>,
    },
    /// Convert a checkpoint between .safetensors and PyTorch's .pt, .pth or .ckpt.
    #[command(after_help = "Example: regun convert outputs/2026-11-23/10-00-00/unlearned.safetensors unlearned.pt")]
    Convert {
        /// File to read. Its content decides its format.
        #[arg(value_name = "SRC")]
        source: PathBuf,
        /// File to write: .safetensors, .pt or .pth (names and tensors), .ckpt (Lightning).
        #[arg(value_name = "DST")]
        target: PathBuf,
        /// Replace DST if it exists.
        #[arg(long)]
        force: bool,
    },
    /// Print the indices of retained, forgotten, held-out and validation images, as JSON.
    #[command(after_help = "Example: regun splits data=digits split.scheme=stratified")]
    Splits {
        /// Configuration overrides: group=choice, key=value, +key=value, ~key.
        overrides: Vec<String>,
    },
    /// Print the configuration that a run would use, as YAML.
    #[command(after_help = "Example: regun config --resolve unlearn=regun model=resnet20")]
    Config {
        /// Resolve interpolations and check every value.
        #[arg(long)]
        resolve: bool,
        /// Configuration overrides: group=choice, key=value, +key=value, ~key.
        overrides: Vec<String>,
    },
    /// Check whether this machine or allocation has everything that a run needs.
    ///
    /// Started with a launcher it checks all ranks, and times the all-reduce over them.
    #[command(after_help = "Example: regun doctor data=cifar10")]
    Doctor {
        /// Configuration overrides: group=choice, key=value, +key=value, ~key.
        overrides: Vec<String>,
    },
}
