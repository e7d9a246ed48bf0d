//! Options of the command line that all commands share, and loading the configuration with them.

use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use serde_json::Value;

use crate::cli::{CfgPart, InfoPart};
use crate::config::{self, Loaded};
use crate::digest::sha256;
use crate::distributed::World;
use crate::error::Result;
use crate::files::text_of;
use crate::models;
use crate::shell;

/// `--config-name` where it is not given.
const DEFAULT_CONFIG_NAME: &str = "config";

/// The ranks, and the command line without command and overrides.
#[derive(Clone)]
pub struct Options {
    pub world: Rc<World>,
    /// `--config-dir`: a folder that is searched before the built-in files.
    pub config_dir: Option<PathBuf>,
    /// `--config-path`: a folder that is searched before the built-in files.
    pub config_path: Option<PathBuf>,
    /// `--config-name`: the root file, without `.yaml`.
    pub config_name: String,
    /// `--cfg`: print a part of the configuration instead of running.
    pub cfg: Option<CfgPart>,
    /// `--info`: print the files of the configuration instead of running.
    pub info: Option<InfoPart>,
    /// `--package`: print only this section of the configuration.
    pub package: Option<String>,
    /// `--resolve`: print the configuration with its interpolations resolved.
    pub resolve: bool,
    /// `--weights-key`: the dict of the weights in a model file of another program.
    pub weights_key: Option<String>,
    /// Print the result as one JSON object.
    pub json: bool,
}

impl Options {
    /// The key of `--package`. Empty: the whole configuration.
    pub fn package_key(&self) -> &str {
        self.package.as_deref().filter(|key| *key != "_global_").unwrap_or_default()
    }

    /// The request for a configuration with these overrides.
    pub fn request<'a>(&'a self, overrides: &'a [String]) -> config::Request<'a> {
        config::Request {
            config_dir: self.config_dir.as_deref(),
            config_path: self.config_path.as_deref(),
            config_name: &self.config_name,
            overrides,
            run_dir: None,
            choice_hint: models::choice_hint,
        }
    }

    /// Composes and checks the configuration, and logs its warnings. A collective call.
    ///
    /// # Errors
    /// A configuration that is not valid, or that differs between the ranks.
    pub fn load(&self, overrides: &[String]) -> Result<Loaded> {
        let loaded = self.load_unwarned(overrides)?;
        for warning in &loaded.warnings {
            tracing::warn!("{warning}");
        }
        Ok(loaded)
    }

    /// Like [`Options::load`], but does not log the warnings.
    pub fn load_unwarned(&self, overrides: &[String]) -> Result<Loaded> {
        let request = self.request(overrides);
        let loaded = config::load(&request)?;
        // The name of the run folder contains the time. All ranks take the name of rank 0.
        let run_dir = self.world.broadcast_str(text_of(&loaded.run_dir)?)?;
        let loaded = match Path::new(&run_dir) == loaded.run_dir {
            true => loaded,
            false => config::load(&config::Request { run_dir: Some(&run_dir), ..request })?,
        };
        self.world.agree(|| start_facts(&loaded))?;
        let launch = &loaded.config.launch;
        self.world.configure(Duration::from_secs_f64(launch.timeout_seconds), launch.check_collectives);
        Ok(loaded)
    }
}

impl Options {
    /// A command line that starts this program with the same configuration files, quoted for a shell.
    pub fn command(&self, words: &[&str], overrides: &[String]) -> String {
        let program = std::env::args().next().unwrap_or_else(|| "regun".into());
        let mut line = vec![program];
        line.extend(words.iter().map(|word| (*word).to_owned()));
        if let Some(folder) = &self.config_dir {
            line.extend(["--config-dir".into(), folder.display().to_string()]);
        }
        if let Some(folder) = &self.config_path {
            line.extend(["--config-path".into(), folder.display().to_string()]);
        }
        if self.config_name != DEFAULT_CONFIG_NAME {
            line.extend(["--config-name".into(), self.config_name.clone()]);
        }
        line.extend(overrides.iter().cloned());
        shell::command(line)
    }
}

/// Facts that must be equal on all ranks: a digest of the program, and every configured value.
fn start_facts(loaded: &Loaded) -> Vec<(String, String)> {
    let program = std::env::current_exe().and_then(std::fs::read).map(sha256).unwrap_or_else(|error| error.to_string());
    let mut facts = vec![("program (sha256)".to_owned(), program)];
    flatten(&loaded.tree.to_json(), "", &mut facts);
    facts
}

/// Appends the leaves of a JSON tree to `leaves`, each with its dotted path.
fn flatten(value: &Value, path: &str, leaves: &mut Vec<(String, String)>) {
    match value {
        Value::Object(map) => {
            let prefix = if path.is_empty() { String::new() } else { format!("{path}.") };
            map.iter().for_each(|(key, value)| flatten(value, &format!("{prefix}{key}"), leaves));
        }
        leaf => leaves.push((path.to_owned(), leaf.to_string())),
    }
}
