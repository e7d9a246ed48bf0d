//! A composed configuration, before its interpolations are resolved.

use std::path::{Path, PathBuf};

use jiff::Zoned;

use super::apply::any_of;
use super::defaults::DefaultsTree;
use super::interpolate::{Environment, Interpolator};
use super::merge::{embed, merge};
use super::nearest::{Synonyms, namesakes};
use super::node::{KeyMap, MANDATORY, Node, Origin, Value};
use super::section::Section;
use crate::error::Result;
use crate::home;

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
    pub(super) defaults: DefaultsTree,
    /// The places that were searched for files, as provider and address.
    pub search_path: Vec<(&'static str, String)>,
}

impl Composed {
    /// Replaces `hydra.run.dir`.
    pub fn set_run_dir(&mut self, run_dir: &str) {
        // The path is no interpolation, even if it holds `${`.
        let text = run_dir.replace("${", "\\${");
        merge(&mut self.root, embed("hydra.run.dir", Node::new(Value::Str(text), Origin::Program)));
    }

    /// Whether the key `path` has no value: it is absent, null or `???`.
    pub fn is_unset(&self, path: &str) -> bool {
        let value = self.root.get(path).map(|node| &node.value);
        value.is_none_or(|value| match value {
            Value::Null => true,
            Value::Str(text) => text == MANDATORY,
            _ => false,
        })
    }

    /// Sets the key `path`, as no file or override has done.
    pub fn set(&mut self, path: &str, value: Value) {
        merge(&mut self.root, embed(path, Node::new(value, Origin::Program)));
    }

    /// The value of the key `path`, with its interpolations resolved; `None` without the key.
    ///
    /// # Errors
    /// The errors of [`Composed::resolve`].
    pub fn value(&self, path: &str) -> Result<Option<Node>> {
        self.root.get(path).map(|node| self.interpolator().resolve(path, node)).transpose()
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
            Value::Str(text) if !text.is_empty() => Ok(home::expand(Path::new(&text))),
            _ => Err(wrong()),
        }
    }

    /// The overrides that a user means who writes `name` with `value`, each in quotes: a choice of a group, the key
    /// itself, or keys whose last name is that of `name`. None if there is nothing like it.
    pub fn meant_by(&self, name: &str, value: &str, synonyms: Synonyms) -> Option<String> {
        let name = name.replace('-', "_");
        let group = synonyms.iter().find(|(other, _)| *other == name).map_or(name.as_str(), |(_, group)| group);
        let is_group = self.root.get("hydra.runtime.choices").and_then(|choices| choices.child(group)).is_some();
        if is_group {
            return Some(format!("`{group}={value}`"));
        }
        let keys = match self.root.get(&name) {
            Some(_) => vec![name],
            None => namesakes(&self.root, &name, synonyms),
        };
        (!keys.is_empty()).then(|| any_of(&keys, value))
    }

    /// The files of the configuration in merge order: path, package, whether it is `_self_`, and parent of each.
    pub fn defaults_list(&self) -> Vec<[String; 4]> {
        let mut rows = Vec::new();
        self.defaults.rows(&mut rows);
        rows
    }

    /// The tree of the defaults lists as indented lines.
    pub fn defaults_tree(&self) -> Vec<String> {
        let mut lines = Vec::new();
        self.defaults.lines(0, &mut lines);
        lines
    }

    /// Hydra's own section as composed, below the key `hydra`.
    pub fn hydra_tree(&self) -> Node {
        let hydra = self.root.get("hydra").cloned();
        embed("hydra", hydra.unwrap_or_else(|| Node::new(Value::Map(KeyMap::new()), Origin::Program)))
    }

    /// A part of this configuration, the value at `path` (empty: a tree of the root), with its interpolations resolved.
    ///
    /// # Errors
    /// The errors of [`Composed::resolve`].
    pub fn resolve_part(&self, part: &Node, path: &str) -> Result<Node> {
        self.interpolator().resolve(path, part)
    }

    fn interpolator(&self) -> Interpolator<'_> {
        Interpolator { root: &self.root, now: &self.now, environment: self.environment }
    }
}
