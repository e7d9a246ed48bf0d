//! A request for a configuration.

use std::path::Path;

use crate::hydra::ChoiceHint;

/// The files and overrides of one configuration.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// A folder that is searched before all others.
    pub config_dir: Option<&'a Path>,
    /// A folder that is searched before the built-in files.
    pub config_path: Option<&'a Path>,
    /// The root file, with or without `.yaml`.
    pub config_name: &'a str,
    /// Overrides as typed, in order.
    pub overrides: &'a [String],
    /// Replaces `hydra.run.dir`. The default run folder holds the time, so all ranks must use the folder of one rank.
    pub run_dir: Option<&'a str>,
    /// A hint for a choice that does not exist.
    pub choice_hint: ChoiceHint,
}

impl Default for Request<'_> {
    fn default() -> Self {
        Request {
            config_dir: None,
            config_path: None,
            config_name: "config",
            overrides: &[],
            run_dir: None,
            choice_hint: |_, _, _| None,
        }
    }
}
