//! Overrides of keys: change, add and delete values of the merged tree.

use super::library::ConfigLibrary;
use super::merge::merge;
use super::nearest::{namesakes, nearest};
use super::node::{KeyMap, Node, Origin, Value, join};
use super::overrides::{Override, OverrideAction};
use super::program::HydraProgram;
use crate::error::{Error, Result, did_you_mean};

/// Applies one override to the tree.
///
/// # Errors
/// A key or group that does not exist, a new key that exists already, a value to delete that does not match.
pub(super) fn apply_override(
    root: &mut Node,
    given: &Override,
    library: &ConfigLibrary,
    program: &HydraProgram,
) -> Result<()> {
    let text = &given.text;
    let key = given.key.as_str();
    if given.package.is_some() || key.contains('/') {
        return Err(if key.starts_with("hydra/") {
            Error::usage(format!("override `{text}`: there is no group `{key}`: Hydra itself does not run here"))
                .hint(program.hydra_group_hint)
        } else {
            Error::usage(format!("override `{text}`: there is no group `{key}` in {}", library.described()))
                .hint(did_you_mean(key, library.groups().iter().map(String::as_str)))
        });
    }
    let existing = root.get(key).filter(|node| node.value != Value::Null);
    match (given.action, existing, &given.value) {
        (OverrideAction::Delete, None, _) => {
            Err(Error::usage(format!("override `{text}`: there is no value at `{key}` to delete"))
                .hint(nearest(root, key)))
        }
        (OverrideAction::Delete, Some(node), Some(value)) if !same_value(&node.value, &value.value) => {
            Err(Error::usage(format!(
                "override `{text}`: `{key}` is {}, not {}, so it stays",
                node.value.described(),
                value.value.described()
            )))
        }
        (OverrideAction::Delete, Some(_), _) => {
            remove(root, key);
            Ok(())
        }
        (OverrideAction::Add, Some(node), Some(value)) if !matches!(value.value, Value::Map(_) | Value::List(_)) => {
            Err(Error::usage(format!(
                "override `{text}`: `{key}` is already there ({}, {})",
                node.value.described(),
                node.origin
            ))
            .hint(format!("to change it write `{}`", text.trim_start_matches('+'))))
        }
        (action, _, Some(value)) => set(root, given, value.clone(), action != OverrideAction::Change, &|root, key| {
            unknown_key(root, given, key, library, program)
        }),
        (_, _, None) => Err(Error::usage(format!("override `{text}`: a value is missing"))),
    }
}

/// The error for a key that does not exist.
fn unknown_key(root: &Node, given: &Override, key: &str, library: &ConfigLibrary, program: &HydraProgram) -> Error {
    let (value, group) = (given.value_text(), key.split('.').next().unwrap_or(key));
    let namesakes = namesakes(root, key, program.synonyms);
    let is_near = |path: &String| parent(path) == parent(key);
    let other_group = program.synonyms.iter().find(|(other, group)| *other == key && library.is_group(group));
    let hint = if library.is_group(group) && root.get(group).is_none() {
        format!("choose `{group}=...` first: {}", library.options(group).join(", "))
    } else if !key.contains('.') && library.is_group(key) {
        format!("`{key}` is a group: {}", library.options(key).join(", "))
    } else if let Some((_, group)) = other_group {
        format!("did you mean `{group}={value}`? Choices: {}", library.options(group).join(", "))
    } else if !namesakes.is_empty() && !namesakes.iter().any(is_near) {
        format!("did you mean {}?", any_of(&namesakes, value))
    } else {
        nearest(root, key)
    };
    Error::usage(format!("override `{}`: there is no key `{key}`", given.text))
        .hint(format!("{hint}; `+{}` adds a new key", given.text.trim_start_matches('+')))
}

/// "`a.b=1` or `c.b=1`" for overrides of these keys with one value.
pub(super) fn any_of(keys: &[String], value: &str) -> String {
    keys.iter().map(|key| format!("`{key}={value}`")).collect::<Vec<_>>().join(" or ")
}

fn parent(path: &str) -> &str {
    path.rsplit_once('.').map_or("", |(parent, _)| parent)
}

/// Sets `given.key`; maps merge. Without `may_add`, every key on the way and every key of a merged map must exist.
fn set(
    root: &mut Node,
    given: &Override,
    mut value: Node,
    may_add: bool,
    unknown: &dyn Fn(&Node, &str) -> Error,
) -> Result<()> {
    let added = Origin::Override { text: given.text.clone(), added: true };
    let keys: Vec<&str> = given.key.split('.').collect();
    if !may_add {
        if root.get(&given.key).is_none() {
            return Err(unknown(root, &given.key));
        }
        if let Some(key) = first_unknown(root.get(&given.key), &value, &given.key) {
            return Err(unknown(root, &key));
        }
    }
    let mut node = root;
    for (depth, key) in keys.iter().enumerate() {
        let is_last = depth + 1 == keys.len();
        let is_item =
            matches!(&node.value, Value::List(items) if key.parse().is_ok_and(|index: usize| index < items.len()));
        if !is_item && !matches!(node.value, Value::Map(_)) {
            if !matches!(node.value, Value::Null) {
                return Err(Error::usage(format!(
                    "override `{}`: `{}` is {}, so it has no key `{key}`",
                    given.text,
                    keys[..depth].join("."),
                    node.value.described()
                )));
            }
            *node = Node::new(Value::Map(KeyMap::new()), added.clone());
        }
        if let Some(map) = node.as_map_mut()
            && map.get(key).is_none()
        {
            let empty = if is_last { Value::Null } else { Value::Map(KeyMap::new()) };
            map.insert(*key, Node::new(empty, added.clone()));
            if is_last {
                value.set_origin(&added);
            }
        }
        match node.child_mut(key) {
            Some(child) => node = child,
            None => return Err(Error::usage(format!("override `{}`: there is no item `{key}`", given.text))),
        }
    }
    set_added_origins(node, &mut value, &added);
    merge(node, value);
    Ok(())
}

/// The first key of `value` that has no counterpart below `target`.
fn first_unknown(target: Option<&Node>, value: &Node, path: &str) -> Option<String> {
    let (Some(Value::Map(target)), Value::Map(value)) = (target.map(|node| &node.value), &value.value) else {
        return None;
    };
    value.iter().find_map(|(key, node)| {
        let path = join(path, key);
        match target.get(key) {
            None => Some(path),
            existing => first_unknown(existing, node, &path),
        }
    })
}

/// Gives the keys of `value` that are new to `target` the origin `added`.
fn set_added_origins(target: &Node, value: &mut Node, added: &Origin) {
    if let (Value::Map(target), Value::Map(value)) = (&target.value, &mut value.value) {
        let keys: Vec<String> = value.keys().map(String::from).collect();
        for key in keys {
            match (target.get(&key), value.get_mut(&key)) {
                (Some(target), Some(node)) => set_added_origins(target, node, added),
                (None, Some(node)) => node.set_origin(added),
                _ => {}
            }
        }
    }
}

fn remove(root: &mut Node, path: &str) {
    let (parent, key) = path.rsplit_once('.').unwrap_or(("", path));
    let parent = if parent.is_empty() { Some(root) } else { root.get_mut(parent) };
    match parent.map(|node| &mut node.value) {
        Some(Value::Map(map)) => {
            map.remove(key);
        }
        Some(Value::List(items)) => {
            if let Ok(index) = key.parse::<usize>() {
                items.remove(index);
            }
        }
        _ => {}
    }
}

/// Whether two values are equal. An integer equals the float of the same value.
fn same_value(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Int(int), Value::Float(float)) | (Value::Float(float), Value::Int(int)) => *int as f64 == *float,
        (Value::List(a), Value::List(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same_value(&a.value, &b.value))
        }
        (Value::Map(a), Value::Map(b)) => {
            a.len() == b.len() && a.iter().all(|(key, a)| b.get(key).is_some_and(|b| same_value(&a.value, &b.value)))
        }
        _ => a == b,
    }
}
