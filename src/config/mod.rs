//! The configuration: a Hydra tree of YAML files and command-line overrides, read into typed structs.
//!
//! Steps, one module each: `yaml` and `overrides` read text into a [`Node`] tree that knows where each value was
//! written; `defaults` decides which files take part and `compose` merges them; `interpolate` resolves `${...}`;
//! `decode` reads the tree into [`schema`]; `validate` checks what types cannot say. The rules are those of Hydra 1.3
//! and OmegaConf 2.3, so that the configurations of the Python program load as they are.
//!
//! ```
//! # fn main() -> regun::error::Result<()> {
//! use regun::config::{Request, load};
//!
//! let overrides = ["unlearn=regun".to_owned(), "unlearn.regun.retain_weight=0.7".to_owned()];
//! let loaded = load(&Request { overrides: &overrides, ..Request::default() })?;
//! assert_eq!(loaded.config.data.batch_size, 128);
//! # Ok(())
//! # }
//! ```

pub mod builtin;
mod compose;
mod decode;
mod defaults;
mod emit;
mod eval;
mod grammar;
mod interpolate;
mod library;
mod node;
pub mod overrides;
pub mod scalar;
pub mod schema;
mod section;
mod validate;
pub mod yaml;

use std::env::VarError;
use std::path::{Path, PathBuf};

use jiff::Zoned;

use crate::error::Result;
pub use node::{Map, Node, Origin, Value};
pub use schema::Config;
pub use section::Section;

/// What to load.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// A folder that is searched before the files compiled in.
    pub config_dir: Option<&'a Path>,
    /// The root file, without `.yaml`.
    pub config_name: &'a str,
    /// Overrides as typed, in order.
    pub overrides: &'a [String],
    /// Replaces `hydra.run.dir`. Ranks must agree on one, as its default holds the time.
    pub run_dir: Option<&'a Path>,
}

impl Default for Request<'_> {
    fn default() -> Self {
        Request { config_dir: None, config_name: "config", overrides: &[], run_dir: None }
    }
}

/// Looks up an environment variable.
pub type Environment = fn(&str) -> Result<String, VarError>;

/// A composed tree whose interpolations are still as written.
pub struct Composed {
    root: Node,
    now: Zoned,
    environment: Environment,
    pub warnings: Vec<String>,
}

/// A configuration ready for use.
#[derive(Debug, Clone)]
pub struct Loaded {
    pub config: Config,
    /// The same, untyped and in composition order: what a run saves and prints.
    pub tree: Node,
    /// For the user, once.
    pub warnings: Vec<String>,
    pub run_dir: PathBuf,
}

/// Composes, resolves, reads and checks a configuration.
///
/// # Errors
/// Usage errors that name key, value, what is wanted, and file and line (or override); unreadable files.
pub fn load(request: &Request) -> Result<Loaded> {
    compose(request)?.load()
}

/// Composes the files and overrides of a request; `${oc.env:NAME}` asks the process's environment.
///
/// # Errors
/// A file, group choice or key that does not exist; text that is not YAML or not in the override grammar.
pub fn compose(request: &Request) -> Result<Composed> {
    compose_in(request, |name| std::env::var(name))
}

/// As [`compose`], with an environment of the caller's.
///
/// # Errors
/// As [`compose`].
pub fn compose_in(request: &Request, environment: Environment) -> Result<Composed> {
    let library = library::Library::open(request.config_dir)?;
    let name = request.config_name.strip_suffix(".yaml").unwrap_or(request.config_name);
    let compose::Tree { mut root, warnings } = compose::compose(&library, name, request.overrides)?;
    if let Some(run_dir) = request.run_dir {
        let dir = Node::new(Value::Str(escape(&run_dir.display().to_string())), Origin::Program);
        compose::merge(&mut root, library::embed("hydra.run.dir", dir));
    }
    Ok(Composed { root, now: Zoned::now(), environment, warnings })
}

/// Text that an interpolation resolves to itself.
fn escape(text: &str) -> String {
    text.replace("${", "\\${")
}

impl Composed {
    /// The job's configuration: everything but Hydra's own section.
    pub fn tree(&self) -> Node {
        let mut tree = self.root.clone();
        if let Value::Map(map) = &mut tree.value {
            map.remove("hydra");
        }
        tree
    }

    /// The tree without interpolations.
    ///
    /// # Errors
    /// A missing key or a cycle (both ends named), a resolver that fails.
    pub fn resolve(&self) -> Result<Node> {
        self.resolver().resolve("", &self.tree())
    }

    /// The resolved run folder.
    ///
    /// # Errors
    /// As [`Composed::resolve`]; a value that is not text.
    pub fn run_dir(&self) -> Result<PathBuf> {
        let path = "hydra.run.dir";
        let missing = || validate::rejection("", &self.root, path, "a folder");
        let node = self.root.get(path).ok_or_else(missing)?;
        let resolved = self.resolver().resolve(path, node)?;
        match resolved.value {
            Value::Str(text) if !text.is_empty() => Ok(text.into()),
            _ => Err(missing()),
        }
    }

    fn resolver(&self) -> interpolate::Resolver<'_> {
        interpolate::Resolver { root: &self.root, now: &self.now, environment: self.environment }
    }

    /// Resolves, reads and checks.
    ///
    /// # Errors
    /// As [`load`].
    pub fn load(self) -> Result<Loaded> {
        let run_dir = self.run_dir()?;
        let tree = self.resolve()?;
        let mut warnings = self.warnings;
        let config: Config = decode::decode("", &tree, &[], &mut warnings)?;
        validate::validate(&config, &tree, &mut warnings)?;
        Ok(Loaded { config, tree, warnings, run_dir })
    }
}

impl Loaded {
    pub fn to_yaml(&self) -> String {
        self.tree.to_yaml()
    }
}
