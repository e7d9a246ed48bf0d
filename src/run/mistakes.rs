//! Mistakes on the command line that have an answer here: options of other programs, which are keys of the
//! configuration, and overrides before the command.

use std::ffi::OsString;

use clap::error::{ContextKind, ContextValue, ErrorKind};

use crate::config::{self, Request};
use crate::error::Error;

/// The error that takes the place of clap's, if there is a better one. `arguments` are those of the process.
pub fn explain(error: &clap::Error, arguments: &[OsString]) -> Option<Error> {
    let context = |kind| match error.get(kind) {
        Some(ContextValue::String(text)) => Some(text.as_str()),
        _ => None,
    };
    let words: Vec<&str> = arguments.iter().skip(1).filter_map(|argument| argument.to_str()).collect();
    match error.kind() {
        ErrorKind::UnknownArgument => unknown_option(context(ContextKind::InvalidArg)?, &words),
        ErrorKind::InvalidSubcommand => {
            let word = context(ContextKind::InvalidSubcommand)?;
            word.contains('=').then(|| {
                Error::usage(format!("`{word}` stands where the command must stand"))
                    .hint(format!("the command comes first: `regun base {word}`; `regun --help` lists the commands"))
            })
        }
        ErrorKind::InvalidValue if context(ContextKind::InvalidArg)?.starts_with("--cfg") => {
            let value = context(ContextKind::InvalidValue)?;
            Some(
                Error::usage(format!("--cfg {value}: wanted job, hydra or all, and there is no folder of that name"))
                    .hint(format!("a folder of configuration files is named with `--config-dir {value}`, or `-cd`")),
            )
        }
        _ => None,
    }
}

/// The error for an option that does not exist: it is probably a key of the configuration.
fn unknown_option(option: &str, words: &[&str]) -> Option<Error> {
    // clap names the first letter of `-lr`.
    let is_it = |word: &&&str| match option.starts_with("--") {
        true => word.split('=').next() == Some(option),
        false => word.starts_with(option) && !word.starts_with("--"),
    };
    let at = words.iter().position(|word| is_it(&word))?;
    let (typed, value) = match words[at].split_once('=') {
        Some((name, value)) => (name, Some(value)),
        None => (words[at], words.get(at + 1).copied().filter(|next| !next.starts_with("--") && !next.contains('='))),
    };
    let message = format!("there is no option `{typed}`");
    if ["-m", "--multirun"].contains(&typed) {
        return Some(
            Error::usage(format!("{message}: sweeps are not supported by this version"))
                .hint("start one run for each value, in a loop of the shell"),
        );
    }
    let hint = match config::meant_by(typed.trim_start_matches('-'), value.unwrap_or("..."), &request_overrides(words))
    {
        Some(written) => format!("settings of the configuration are written without dashes: {written}"),
        None => {
            "settings of the configuration are written `key=value`, without dashes; `regun config` lists the keys, \
                 `regun --help` the options"
                .into()
        }
    };
    Some(Error::usage(message).hint(hint))
}

/// The overrides among the words, as far as they make a configuration.
fn request_overrides(words: &[&str]) -> Vec<String> {
    let given = words.iter().filter(|word| !word.starts_with('-') && word.contains('='));
    let overrides: Vec<String> = given.map(|word| word.to_string()).collect();
    match config::compose(&Request { overrides: &overrides, ..Request::default() }) {
        Ok(_) => overrides,
        Err(_) => Vec::new(),
    }
}
