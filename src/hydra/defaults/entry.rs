//! The entries of a defaults list.

use crate::error::{Error, Result, did_you_mean};
use crate::hydra::library::without_extension;
use crate::hydra::node::{Node, Origin, Value};

/// One entry of a defaults list, except `_self_`.
#[derive(Clone)]
pub(super) struct DefaultsEntry {
    /// The group, or the folder of a file that the entry names directly. May be absolute (`/group`).
    pub group: String,
    pub choice: EntryChoice,
    /// A file named directly cannot be overridden.
    pub is_group: bool,
    pub package: Option<String>,
    pub optional: bool,
    pub is_override: bool,
    pub origin: Origin,
}

/// The chosen file or files of an entry.
#[derive(Clone)]
pub(super) enum EntryChoice {
    None,
    One(String),
    Several(Vec<String>),
}

impl EntryChoice {
    /// A choice by name, which may carry the extension of its file.
    pub fn named(name: &str) -> Self {
        EntryChoice::One(without_extension(name).into())
    }

    /// Several choices by name.
    pub fn list(items: &[Node]) -> Self {
        let names = items.iter().map(|item| without_extension(&item.value.python_str()).to_owned());
        EntryChoice::Several(names.collect())
    }
}

impl DefaultsEntry {
    /// The name, or for a file named directly its path, if it holds interpolations.
    pub fn interpolation(&self) -> Option<String> {
        let EntryChoice::One(name) = &self.choice else { return None };
        let text = match self.is_group || self.group.is_empty() {
            true => name.clone(),
            false => format!("{}/{name}", self.group.trim_end_matches('/')),
        };
        text.contains("${").then_some(text)
    }

    /// Replaces the name, or for a file named directly its path.
    pub fn set_name(&mut self, name: &str) {
        if self.is_group {
            self.choice = EntryChoice::named(name);
            return;
        }
        let (group, name) = split_path(name);
        self.group = group.into();
        self.choice = EntryChoice::named(name);
    }
}

/// One line of a defaults list.
pub(super) enum DefaultsItem {
    /// `_self_`: the file's own content.
    SelfFile,
    Entry(DefaultsEntry),
}

/// Reads the defaults list of the file with the given name.
///
/// # Errors
/// A list or entry that does not follow Hydra's syntax.
pub(super) fn read_list(list: &Node, file: &str) -> Result<Vec<DefaultsItem>> {
    let Value::List(items) = &list.value else {
        return Err(Error::usage(format!(
            "{}: `defaults` must be a list, not {}",
            list.origin,
            list.value.described()
        )));
    };
    items.iter().map(|item| read_item(item, file)).collect()
}

fn read_item(item: &Node, file: &str) -> Result<DefaultsItem> {
    let origin = &item.origin;
    match &item.value {
        Value::Str(text) if text == "_self_" => Ok(DefaultsItem::SelfFile),
        Value::Str(text) => {
            let (path, package) = split_package(text);
            let (group, name) = split_path(path);
            Ok(DefaultsItem::Entry(DefaultsEntry {
                group: group.into(),
                choice: EntryChoice::named(name),
                is_group: false,
                package,
                optional: false,
                is_override: false,
                origin: origin.clone(),
            }))
        }
        Value::Map(map) => {
            let mut entries = map.iter();
            let (Some((key, node)), None) = (entries.next(), entries.next()) else {
                return Err(Error::usage(format!("{origin}: an entry of a defaults list has one key")));
            };
            let mut words: Vec<&str> = key.split_whitespace().collect();
            let name = words.pop().unwrap_or_default();
            let known = ["override", "optional"];
            if let Some(word) = words.iter().find(|word| !known.contains(word)) {
                return Err(Error::usage(format!("{origin}: unknown keyword `{word}` in the defaults list"))
                    .hint(did_you_mean(word, known)));
            }
            let (group, package) = split_package(name);
            let choice = match &node.value {
                Value::Null => EntryChoice::None,
                Value::Str(name) => EntryChoice::named(name),
                Value::List(names) => EntryChoice::list(names),
                value => {
                    let got = value.described();
                    return Err(Error::usage(format!("{origin}: a choice is a name or null, not {got}")));
                }
            };
            Ok(DefaultsItem::Entry(DefaultsEntry {
                group: group.into(),
                choice,
                is_group: true,
                package,
                optional: words.contains(&"optional"),
                is_override: words.contains(&"override"),
                origin: node.origin.clone(),
            }))
        }
        value => Err(Error::usage(format!("{file}: a defaults list cannot hold {}", value.described()))),
    }
}

/// Folder and name of a file that an entry names directly.
fn split_path(path: &str) -> (&str, &str) {
    // The slashes of an interpolation are part of the name.
    let end = path.find("${").unwrap_or(path.len());
    match path[..end].rfind('/') {
        Some(0) => ("/", &path[1..]),
        Some(at) => (&path[..at], &path[at + 1..]),
        None => ("", path),
    }
}

fn split_package(text: &str) -> (&str, Option<String>) {
    match text.split_once('@') {
        Some((path, package)) => (path, Some(package.into())),
        None => (text, None),
    }
}
