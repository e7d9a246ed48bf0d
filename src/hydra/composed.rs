//! A composed configuration, before its interpolations are resolved.

use std::path::{Path, PathBuf};

use jiff::Zoned;

use super::interpolate::{Environment, Interpolator};
use super::merge::{embed, merge};
use super::node::{Node, Origin, Value};
use super::section::Section;
use crate::error::Result;

/// A composed tree. Its interpolations are still text.
pub struct Composed {
    /// With the section `hydra`.
    pub(super) root: Node,
    /// The time of `${now:...}`.
    pub(super) now: Zoned,
    /// The variables of `${oc.env:...}`.
    pub(super) environment: Environment,
    /// Messages for the user.
    pub warnings: Vec<String>,
}

impl Composed {
    /// Replaces `hydra.run.dir`.
    pub fn set_run_dir(&mut self, run_dir: &Path) {
        // The path is no interpolation, even if it holds `${`.
        let text = run_dir.display().to_string().replace("${", "\\${");
        merge(&mut self.root, embed("hydra.run.dir", Node::new(Value::Str(text), Origin::Program)));
    }

    /// The configuration without Hydra's own section, as composed.
    pub fn tree(&self) -> Node {
        let mut tree = self.root.clone();
        if let Value::Map(map) = &mut tree.value {
            map.remove("hydra");
        }
        tree
    }

    /// The configuration without Hydra's own section, with its interpolations resolved.
    ///
    /// # Errors
    /// A missing key or a cycle (both ends named), a resolver that fails.
    pub fn resolve(&self) -> Result<Node> {
        self.interpolator().resolve("", &self.tree())
    }

    /// The run folder, `hydra.run.dir`, with its interpolations resolved.
    ///
    /// # Errors
    /// The errors of [`Composed::resolve`]; a value that is not text.
    pub fn run_dir(&self) -> Result<PathBuf> {
        let path = "hydra.run.dir";
        let wrong = || Section::new("", self.root.clone()).reject(path, "a folder");
        let node = self.root.get(path).ok_or_else(wrong)?;
        let resolved = self.interpolator().resolve(path, node)?;
        match resolved.value {
            Value::Str(text) if !text.is_empty() => Ok(text.into()),
            _ => Err(wrong()),
        }
    }

    fn interpolator(&self) -> Interpolator<'_> {
        Interpolator { root: &self.root, now: &self.now, environment: self.environment }
    }
}
