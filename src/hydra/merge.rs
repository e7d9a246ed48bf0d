//! Edits of a tree: merge another tree into it, fill its gaps, put it below a key.

use super::node::{KeyMap, Node, Value};

/// Merges `source` into `target`. Maps merge key by key; any other value replaces the old one.
pub fn merge(target: &mut Node, source: Node) {
    match (&mut target.value, source) {
        (Value::Map(target), Node { value: Value::Map(source), .. }) => {
            for (key, node) in source {
                match target.get_mut(&key) {
                    Some(existing) => merge(existing, node),
                    None => target.insert(key, node),
                }
            }
        }
        (_, source) => *target = source,
    }
}

/// Adds the keys of `defaults` that `target` lacks, at any depth. Values that `target` has stay.
pub fn fill(target: &mut Node, defaults: Node) {
    let (Value::Map(target), Value::Map(defaults)) = (&mut target.value, defaults.value) else { return };
    for (key, node) in defaults {
        match target.get_mut(&key) {
            Some(existing) => fill(existing, node),
            None => target.insert(key, node),
        }
    }
}

/// Puts `body` below the keys of `path` (joined with dots): one map with one key for each.
pub fn embed(path: &str, body: Node) -> Node {
    path.split('.').filter(|key| !key.is_empty()).rev().fold(body, |inner, key| {
        let origin = inner.origin.clone();
        let mut map = KeyMap::new();
        map.insert(key, inner);
        Node::new(Value::Map(map), origin)
    })
}
