//! The configuration tree: values of YAML files and overrides, each with the place where it was written.
//!
//! Strings may hold interpolations (`${...}`); `interpolate` replaces them. Keys keep the order of composition, because
//! users see the tree in that order.

use std::fmt;
use std::sync::Arc;

use super::float_text::float_text;

/// The place where a value was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// Line and column count from 1.
    File { file: Arc<str>, line: usize, column: usize },
    /// A command-line override; `added` if it made a new key (`+key=value`).
    Override { text: Arc<str>, added: bool },
    /// The program itself.
    Program,
}

impl Origin {
    /// The name of the file that holds the value. None for overrides and values of the program.
    pub fn file(&self) -> Option<&str> {
        match self {
            Origin::File { file, .. } => Some(file),
            _ => None,
        }
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

/// A value with its origin: the place of its key if it has one, else of the value itself.
#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    pub value: Value,
    pub origin: Origin,
}

/// The types of YAML values. Integers and floats are kept apart.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    Null,
    Bool(bool),
    Int(i64),
    Float(f64),
    Str(String),
    List(Vec<Node>),
    Map(KeyMap),
}

/// OmegaConf's text for a value that the user must give.
pub(super) const MANDATORY: &str = "???";

impl Node {
    /// A value that was written at `origin`.
    pub fn new(value: Value, origin: Origin) -> Self {
        Node { value, origin }
    }

    /// The keys and values. None if the value is not a map.
    pub fn as_map(&self) -> Option<&KeyMap> {
        match &self.value {
            Value::Map(map) => Some(map),
            _ => None,
        }
    }

    /// The keys and values, for changes.
    pub fn as_map_mut(&mut self) -> Option<&mut KeyMap> {
        match &mut self.value {
            Value::Map(map) => Some(map),
            _ => None,
        }
    }

    /// The text. None if the value is not text.
    pub fn as_str(&self) -> Option<&str> {
        match &self.value {
            Value::Str(text) => Some(text),
            _ => None,
        }
    }

    /// The value at `path` below this one: keys joined with dots, list items by index.
    pub fn get(&self, path: &str) -> Option<&Node> {
        path.split('.').try_fold(self, |node, key| node.child(key))
    }

    /// The value at `path`, for changes.
    pub(super) fn get_mut(&mut self, path: &str) -> Option<&mut Node> {
        path.split('.').try_fold(self, |node, key| node.child_mut(key))
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
    /// The text of Python's `str` (`None`, `True`, `1e-05`). An interpolation inside a longer string becomes this text.
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
            Value::Float(value) => float_text(*value),
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

    /// The value in an error message. Text has quotes, so that the text "1" and the number 1 differ.
    pub(super) fn described(&self) -> String {
        match self {
            Value::Null => "null".into(),
            Value::Bool(value) => value.to_string(),
            Value::Int(value) => value.to_string(),
            Value::Float(value) => float_text(*value),
            Value::Str(text) => format!("the text \"{text}\""),
            Value::List(items) => format!("a list of {}", items.len()),
            Value::Map(map) => match map.keys().take(4).collect::<Vec<_>>() {
                keys if keys.is_empty() => "an empty section".into(),
                keys => format!("a section ({}{})", keys.join(", "), if map.len() > 4 { ", ..." } else { "" }),
            },
        }
    }
}

/// Keys and values in the order in which they were set. Lookup scans them, because a map has tens of keys at most.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct KeyMap(Vec<(String, Node)>);

impl KeyMap {
    pub fn new() -> Self {
        KeyMap::default()
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

    /// Sets `key`. A new key goes to the end, a known key keeps its position.
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

impl IntoIterator for KeyMap {
    type Item = (String, Node);
    type IntoIter = std::vec::IntoIter<(String, Node)>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

/// `parent.key`, or `key` at the root.
pub fn join(parent: &str, key: &str) -> String {
    if parent.is_empty() { key.into() } else { format!("{parent}.{key}") }
}
