//! The command line: commands and their options.

mod arguments;

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use clap::{ArgAction, Parser, Subcommand, ValueEnum};

use crate::error::{Error, Result};
use crate::home;

/// Checks that all arguments are UTF-8. Configuration, `run.json` and messages hold them as text; another text would
/// name another file.
///
/// # Errors
/// A usage error that shows the argument.
pub fn check_encoding(arguments: impl IntoIterator<Item = OsString>) -> Result<()> {
    let wrong = arguments.into_iter().find(|argument| argument.to_str().is_none());
    wrong.map_or(Ok(()), |argument| {
        Err(Error::usage(format!("the argument {argument:?} is not UTF-8"))
            .hint("rename the file or folder, or make a symbolic link to it with a name in UTF-8 and give that"))
    })
}

#[derive(Debug, Parser)]
#[command(name = "regun", version, about, max_term_width = 110)]
pub struct Cli {
    /// Folder searched for configuration files before all others (-cd).
    #[arg(long, global = true, value_name = "DIR", value_parser = path)]
    pub config_dir: Option<PathBuf>,

    /// Folder of the root file, searched before the built-in files (-cp).
    #[arg(long, global = true, value_name = "DIR", value_parser = path)]
    pub config_path: Option<PathBuf>,

    /// Configuration file to start from, without `.yaml` (-cn).
    #[arg(long, global = true, value_name = "NAME", default_value = "config")]
    pub config_name: String,

    /// Print the configuration instead of running: of the job, Hydra's own section, or all.
    #[arg(long, short = 'c', global = true, value_name = "PART")]
    pub cfg: Option<CfgPart>,

    /// With --cfg or `config`: print only this section, such as model.optim.
    #[arg(long, short = 'p', global = true, value_name = "KEY")]
    pub package: Option<String>,

    /// With --cfg: resolve interpolations.
    #[arg(long, global = true)]
    pub resolve: bool,

    /// Print the files that the configuration is made of instead of running.
    #[arg(long, short = 'i', global = true, value_name = "WHAT", num_args = 0..=1, default_missing_value = "all")]
    pub info: Option<InfoPart>,

    /// Dict of the weights in a model file of another program, as keys joined by points: `state_dict_ema`.
    #[arg(long, global = true, value_name = "KEY")]
    pub weights_key: Option<String>,

    /// Print the result as one JSON object.
    #[arg(long, global = true)]
    pub json: bool,

    /// Log more: -v for details, -vv for everything.
    #[arg(long, short, global = true, action = ArgAction::Count)]
    pub verbose: u8,

    #[command(subcommand)]
    pub command: Command,
}

/// A part of the configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum CfgPart {
    Job,
    Hydra,
    All,
}

/// Information about the making of a configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum InfoPart {
    All,
    Config,
    Defaults,
    DefaultsTree,
    Searchpath,
}

/// A path on the command line.
fn path(text: &str) -> Result<PathBuf, std::convert::Infallible> {
    Ok(home::expand(Path::new(text)))
}

impl Cli {
    /// Reads a command line, the name of the program first.
    ///
    /// # Errors
    /// The message that clap prints: a mistake, or the help that was asked for.
    pub fn read(arguments: impl IntoIterator<Item = OsString>) -> Result<Self, clap::Error> {
        Cli::try_parse_from(arguments::expand(arguments))
    }
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
        /// First train the reference models that are missing.
        #[arg(long)]
        references: bool,
        /// Configuration overrides: group=choice, key=value, +key=value, ~key.
        overrides: Vec<String>,
    },
    /// Make the base model forget with one method and evaluate it (step 3).
    #[command(alias = "run3", after_help = "Example: regun unlearn unlearn=regun data=cifar10 split.forget_frac=0.1")]
    Unlearn {
        /// First train the reference models that are missing.
        #[arg(long)]
        references: bool,
        /// Configuration overrides: group=choice, key=value, +key=value, ~key.
        overrides: Vec<String>,
    },
    /// Evaluate any checkpoint that fits the configuration.
    #[command(
        after_help = "Example: regun evaluate --checkpoint outputs/2026-11-23/10-00-00/unlearned.safetensors data=cifar10 split.forget_frac=0.1"
    )]
    Evaluate {
        /// The checkpoint. Give the overrides that it was trained with.
        #[arg(long, value_name = "PATH", value_parser = path)]
        checkpoint: PathBuf,
        /// First train the reference models that are missing.
        #[arg(long)]
        references: bool,
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
        #[arg(value_name = "SRC", value_parser = path)]
        source: PathBuf,
        /// File to write: .safetensors, .pt or .pth (names and tensors), .ckpt (Lightning).
        #[arg(value_name = "DST", value_parser = path)]
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
    ///
    /// --resolve resolves interpolations and checks every value.
    #[command(after_help = "Example: regun config --resolve unlearn=regun model=resnet20")]
    Config {
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

impl Command {
    /// The overrides. None for a command without a configuration.
    pub fn overrides(&self) -> Option<&[String]> {
        match self {
            Command::Reference { overrides, .. }
            | Command::Base { overrides, .. }
            | Command::Unlearn { overrides, .. }
            | Command::Evaluate { overrides, .. }
            | Command::Pipeline { overrides, .. }
            | Command::Splits { overrides }
            | Command::Config { overrides }
            | Command::Doctor { overrides } => Some(overrides),
            Command::Convert { .. } => None,
        }
    }
}
