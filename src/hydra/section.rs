//! A part of the configuration that the program reads later. Its errors name full keys and places, like those of the
//! whole configuration.

use serde::de::DeserializeOwned;

use super::decode::decode;
use super::node::{KeyMap, Node, Value, join};
use crate::error::{Error, Result};

/// A part of the tree that knows its own key and the places where its values were written.
#[derive(Debug, Clone, PartialEq)]
pub struct Section {
    path: String,
    node: Node,
}

impl Section {
    /// The part `node` of the tree, found at `path` (empty for the whole tree).
    pub fn new(path: impl Into<String>, node: Node) -> Self {
        Section { path: path.into(), node }
    }

    /// The tree of the section.
    pub fn into_node(self) -> Node {
        self.node
    }

    /// The keys of the section.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.node.as_map().into_iter().flat_map(KeyMap::keys)
    }

    /// The part at `key` of this section: keys joined with dots. None if it is missing or null.
    pub fn section(&self, key: &str) -> Option<Section> {
        let node = self.node.get(key).filter(|node| node.value != Value::Null)?;
        Some(Section::new(join(&self.path, key), node.clone()))
    }

    /// The value at `key`, with its place.
    pub fn get(&self, key: &str) -> Option<&Node> {
        self.node.get(key)
    }

    /// Reads the section. A key that `T` does not have is an error, or a logged warning if it was added with `+`.
    ///
    /// # Errors
    /// Wrong type, unknown choice, missing or unknown key: each with full key, value, wanted value, and place.
    pub fn decode<T: DeserializeOwned>(&self) -> Result<T> {
        self.decode_ignoring(&[])
    }

    /// Reads the section without its keys in `ignored`, which other code reads.
    ///
    /// # Errors
    /// The errors of [`Section::decode`].
    pub fn decode_ignoring<T: DeserializeOwned>(&self, ignored: &[&str]) -> Result<T> {
        let mut warnings = Vec::new();
        let value = self.decode_collecting(ignored, &mut warnings)?;
        for warning in warnings {
            tracing::warn!("{warning}");
        }
        Ok(value)
    }

    /// Reads the section like [`Section::decode_ignoring`], but pushes the warnings to `warnings`.
    ///
    /// # Errors
    /// The errors of [`Section::decode`].
    pub fn decode_collecting<T: DeserializeOwned>(&self, ignored: &[&str], warnings: &mut Vec<String>) -> Result<T> {
        decode(&self.path, &self.node, ignored, warnings)
    }

    /// An error about the value of `key` (empty: of the section itself), for checks that types cannot express.
    /// `wanted` reads like "a number above 0".
    pub fn reject(&self, key: &str, wanted: &str) -> Error {
        let full = if key.is_empty() { self.path.clone() } else { join(&self.path, key) };
        let found = if key.is_empty() { Some(&self.node) } else { self.node.get(key) };
        match found {
            Some(found) => {
                Error::usage(format!("{}: `{full}` is {}: wanted {wanted}", found.origin, described(&found.value)))
            }
            None => Error::usage(format!("{}: `{full}` is missing: wanted {wanted}", self.node.origin))
                .hint(format!("add `++{full}=...`")),
        }
    }
}

/// The value in an error message. Short lists are shown whole.
fn described(value: &Value) -> String {
    match value {
        Value::List(items) if items.len() <= 8 => value.python_str(),
        value => value.described(),
    }
}
