//! The configuration tree: values as YAML and overrides give them, each with the place where it was written.
//!
//! Strings may still hold interpolations (`${...}`); `interpolate` replaces them. Keys keep their order, as the order of
//! composition is what users see.

use std::fmt;
use std::sync::Arc;

/// Where a value was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// Line and column count from 1.
    File { file: Arc<str>, line: usize, column: usize },
    /// A command-line override; `added` where it made a key that was not there (`+key=value`).
    Override { text: Arc<str>, added: bool },
    /// The program itself.
    Program,
}

impl Origin {
    /// Whether it stands in a file that is compiled in: the user did not write it.
    pub fn is_builtin(&self) -> bool {
        matches!(self, Origin::File { file, .. } if file.starts_with(super::builtin::PREFIX))
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::File { file, line, column } => write!(f, "{file}:{line}:{column}"),
            Origin::Override { text, .. } => write!(f, "override `{text}`"),
            Origin::Program => write!(f, "set by the program"),
        }
    }
}

/// A value with its origin: of the key where it has one, else of the value.
#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    pub value: Value,
    pub origin: Origin,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    Null,
    Bool(bool),
    Int(i64),
    Float(f64),
    Str(String),
    List(Vec<Node>),
    Map(Map),
}

/// The text of a value that must be given before the program can run.
pub(super) const MANDATORY: &str = "???";

impl Node {
    pub fn new(value: Value, origin: Origin) -> Self {
        Node { value, origin }
    }

    pub fn as_map(&self) -> Option<&Map> {
        match &self.value {
            Value::Map(map) => Some(map),
            _ => None,
        }
    }

    pub(super) fn as_map_mut(&mut self) -> Option<&mut Map> {
        match &mut self.value {
            Value::Map(map) => Some(map),
            _ => None,
        }
    }

    pub fn as_str(&self) -> Option<&str> {
        match &self.value {
            Value::Str(text) => Some(text),
            _ => None,
        }
    }

    /// The value below this one named by keys joined with dots; list items are named by their index.
    pub fn get(&self, path: &str) -> Option<&Node> {
        path.split('.').try_fold(self, |node, key| node.child(key))
    }

    pub(super) fn child(&self, key: &str) -> Option<&Node> {
        match &self.value {
            Value::Map(map) => map.get(key),
            Value::List(items) => items.get(key.parse::<usize>().ok()?),
            _ => None,
        }
    }

    pub(super) fn child_mut(&mut self, key: &str) -> Option<&mut Node> {
        match &mut self.value {
            Value::Map(map) => map.get_mut(key),
            Value::List(items) => items.get_mut(key.parse::<usize>().ok()?),
            _ => None,
        }
    }

    /// Replaces the origin of this node and of everything below it.
    pub(super) fn set_origin(&mut self, origin: &Origin) {
        self.origin = origin.clone();
        match &mut self.value {
            Value::List(items) => items.iter_mut().for_each(|item| item.set_origin(origin)),
            Value::Map(map) => map.values_mut().for_each(|value| value.set_origin(origin)),
            _ => {}
        }
    }
}

impl Value {
    /// The text Python's `str` gives: what an interpolation inside a longer string becomes (`None`, `True`, `1e-05`).
    pub fn python_str(&self) -> String {
        match self {
            Value::Str(text) => text.clone(),
            _ => self.python_repr(),
        }
    }

    fn python_repr(&self) -> String {
        match self {
            Value::Null => "None".into(),
            Value::Bool(true) => "True".into(),
            Value::Bool(false) => "False".into(),
            Value::Int(value) => value.to_string(),
            Value::Float(value) => super::scalar::float_text(*value),
            Value::Str(text) => format!("'{}'", text.replace('\\', "\\\\").replace('\'', "\\'")),
            Value::List(items) => {
                format!("[{}]", items.iter().map(|item| item.value.python_repr()).collect::<Vec<_>>().join(", "))
            }
            Value::Map(map) => {
                let entry = |(key, node): (&str, &Node)| format!("'{key}': {}", node.value.python_repr());
                format!("{{{}}}", map.iter().map(entry).collect::<Vec<_>>().join(", "))
            }
        }
    }

    /// The value as an error message shows it, with its type where the text alone could mislead.
    pub(super) fn described(&self) -> String {
        match self {
            Value::Null => "null".into(),
            Value::Bool(value) => value.to_string(),
            Value::Int(value) => value.to_string(),
            Value::Float(value) => super::scalar::float_text(*value),
            Value::Str(text) => format!("the text \"{text}\""),
            Value::List(items) => format!("a list of {}", items.len()),
            Value::Map(map) => match map.keys().take(4).collect::<Vec<_>>() {
                keys if keys.is_empty() => "an empty section".into(),
                keys => format!("a section ({}{})", keys.join(", "), if map.len() > 4 { ", ..." } else { "" }),
            },
        }
    }
}

/// Keys and values in the order in which they were set. Maps here have tens of keys at most, so lookup is a scan.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Map(Vec<(String, Node)>);

impl Map {
    pub fn new() -> Self {
        Map::default()
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn get(&self, key: &str) -> Option<&Node> {
        self.0.iter().find(|(known, _)| known == key).map(|(_, node)| node)
    }

    pub fn get_mut(&mut self, key: &str) -> Option<&mut Node> {
        self.0.iter_mut().find(|(known, _)| known == key).map(|(_, node)| node)
    }

    /// Sets `key`; a new key goes to the end, a known one keeps its place.
    pub fn insert(&mut self, key: impl Into<String>, node: Node) {
        let key = key.into();
        match self.get_mut(&key) {
            Some(slot) => *slot = node,
            None => self.0.push((key, node)),
        }
    }

    pub fn remove(&mut self, key: &str) -> Option<Node> {
        let index = self.0.iter().position(|(known, _)| known == key)?;
        Some(self.0.remove(index).1)
    }

    pub fn iter(&self) -> impl Iterator<Item = (&str, &Node)> {
        self.0.iter().map(|(key, node)| (key.as_str(), node))
    }

    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|(key, _)| key.as_str())
    }

    fn values_mut(&mut self) -> impl Iterator<Item = &mut Node> {
        self.0.iter_mut().map(|(_, node)| node)
    }
}

impl IntoIterator for Map {
    type Item = (String, Node);
    type IntoIter = std::vec::IntoIter<(String, Node)>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

/// `parent.key`, or `key` at the root.
pub(super) fn join(parent: &str, key: &str) -> String {
    if parent.is_empty() { key.into() } else { format!("{parent}.{key}") }
}
