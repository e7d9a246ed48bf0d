//! From a request to a typed and checked configuration.

use std::path::PathBuf;

use super::builtin::BUILTIN;
use super::class_count::count_classes;
use super::fast_dev_run;
use super::old_spellings::respell;
use super::program::PROGRAM;
use super::request::Request;
use super::schema::{Config, UnlearnConfig};
use super::validate::{is_users, validate};
use crate::error::Result;
use crate::hydra::{self, Composed, ConfigLibrary, Environment, HydraProgram, Node, Section, yaml};

/// A configuration ready for use.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// The typed configuration.
    pub config: Config,
    /// The same configuration as a tree in composition order. A run saves and prints it.
    pub tree: Node,
    /// Messages for the user, to be shown once.
    pub warnings: Vec<String>,
    /// The run folder.
    pub run_dir: PathBuf,
}

/// Composes, resolves, reads and checks a configuration.
///
/// # Errors
/// Usage errors with key, value, wanted value, and file and line (or override); unreadable files.
pub fn load(request: &Request) -> Result<Loaded> {
    Loaded::read(compose(request)?)
}

/// Composes the files and overrides of a request. `${oc.env:NAME}` reads the process's environment.
///
/// # Errors
/// A file, group choice or key that does not exist; text that is not YAML or not in the override grammar.
pub fn compose(request: &Request) -> Result<Composed> {
    compose_in(request, |name| std::env::var(name))
}

/// Like [`compose`], with the given environment.
///
/// # Errors
/// The errors of [`compose`].
pub fn compose_in(request: &Request, environment: Environment) -> Result<Composed> {
    let folders = [("--config-dir", request.config_dir), ("--config-path", request.config_path)];
    let folders: Vec<_> = folders.into_iter().filter_map(|(option, folder)| Some((option, folder?))).collect();
    let library = ConfigLibrary::open(BUILTIN, &folders)?;
    let program = HydraProgram { choice_hint: request.choice_hint, ..PROGRAM };
    let mut composed = hydra::compose(&program, &library, request.config_name, request.overrides, environment)?;
    if let Some(run_dir) = request.run_dir {
        composed.set_run_dir(run_dir);
    }
    Ok(composed)
}

/// The overrides that a user means with the name of a key in another program, each in quotes. None if no key is like
/// it. `overrides` choose the files whose keys are searched.
pub fn meant_by(name: &str, value: &str, overrides: &[String]) -> Option<String> {
    let composed = compose(&Request { overrides, ..Request::default() }).ok()?;
    composed.meant_by(name, value, PROGRAM.synonyms)
}

/// Whether a key of the root file has the value of the built-in one.
fn is_shipped(root: &Section, key: &str) -> Result<bool> {
    let shipped = yaml::parse(BUILTIN.text("config.yaml").unwrap_or_default(), "config.yaml")?;
    Ok(root.get(key).map(|node| &node.value) == shipped.get(key).map(|node| &node.value))
}

impl Loaded {
    /// Resolves, reads and checks a composed tree.
    ///
    /// # Errors
    /// The errors of [`load`].
    pub fn read(mut composed: Composed) -> Result<Self> {
        count_classes(&mut composed)?;
        fast_dev_run::apply(&mut composed)?;
        let run_dir = composed.run_dir()?;
        let mut tree = composed.resolve()?;
        let mut warnings = composed.warnings;
        respell(&mut tree, &mut warnings)?;
        let root = Section::new("", tree);
        let mut config: Config = root.decode_collecting(&["unlearn"], &mut warnings)?;
        config.unlearn =
            root.section("unlearn").map(|method| UnlearnConfig::read(method, &mut warnings)).transpose()?;
        config.split.checks_retain_frac =
            is_users(&root, "split.retain_frac") && !is_shipped(&root, "split.retain_frac")?;
        validate(&config, &root, &mut warnings)?;
        Ok(Loaded { config, tree: root.into_node(), warnings, run_dir })
    }

    /// The resolved value of a dotted key, such as `data` or `model.optim`. `None` without the key.
    pub fn value(&self, key: &str) -> Option<serde_json::Value> {
        self.tree.get(key).map(Node::to_json)
    }

    /// The tree as YAML.
    pub fn to_yaml(&self) -> String {
        self.tree.to_yaml()
    }
}
