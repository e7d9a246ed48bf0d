//! The configuration in the hyper-parameters of a Lightning file.
//!
//! `save_hyperparameters()` keeps the arguments of a module. Where one of them is a section of an omegaconf tree, the
//! whole tree comes along, because a section knows its parent. Interpolations are as written, not resolved.

use std::collections::HashSet;

use serde_json::{Map, Value as Json};

use super::damaged;
use super::objects::Object;
use crate::error::Result;
use crate::pickle::{Heap, Id, Value};

/// A configuration has a depth of about five and some hundred values.
const MAX_DEPTH: usize = 32;
const MAX_VALUES: usize = 1 << 16;
/// Sections by which a configuration of this program or the Python one is known.
const SECTIONS: [&str; 4] = ["data", "model", "split", "seed"];

/// The tree that has most of the known sections, as JSON, which is YAML too; empty text where none has any.
pub fn config(heap: &Heap<Object>, hyper_parameters: Id) -> Result<String> {
    let mut best: Option<(usize, Map<String, Json>)> = None;
    for candidate in candidates(heap, hyper_parameters) {
        let mut reader = Reader { heap, values_left: MAX_VALUES };
        let Json::Object(tree) = reader.json(candidate, 0)? else { continue };
        let known = SECTIONS.iter().filter(|section| tree.contains_key(**section)).count();
        if known > best.as_ref().map_or(0, |(known, _)| *known) {
            best = Some((known, tree));
        }
    }
    Ok(best.map(|(_, tree)| format!("{:#}", Json::Object(tree))).unwrap_or_default())
}

/// The hyper-parameters themselves, what lies directly in them, and the roots of the trees that these belong to.
fn candidates(heap: &Heap<Object>, hyper_parameters: Id) -> Vec<Id> {
    let mut found = vec![hyper_parameters];
    if let Value::Dict(entries) = heap.get(hyper_parameters) {
        found.extend(entries.iter().take(MAX_VALUES).map(|&(_, value)| value));
    }
    let roots: Vec<Id> = found.iter().map(|&id| root(heap, id)).collect();
    found.extend(roots);
    let mut seen = HashSet::new();
    found.retain(|&id| is_section(heap, id) && seen.insert(id));
    found.truncate(MAX_DEPTH);
    found
}

fn is_section(heap: &Heap<Object>, id: Id) -> bool {
    matches!(heap.get(id), Value::Dict(_) | Value::Object(Object::Record { .. }))
}

/// The top of the omegaconf tree that a node is part of.
fn root(heap: &Heap<Object>, mut node: Id) -> Id {
    for _ in 0..MAX_DEPTH {
        match attribute(heap, node, "_parent") {
            Some(parent) if is_section(heap, parent) => node = parent,
            _ => break,
        }
    }
    node
}

fn attribute(heap: &Heap<Object>, id: Id, name: &str) -> Option<Id> {
    match heap.get(id) {
        Value::Object(Object::Record { attributes: Some(attributes), .. }) => heap.entry(*attributes, name),
        _ => None,
    }
}

struct Reader<'a> {
    heap: &'a Heap<Object>,
    /// Nodes may be shared, so that a small pickle could unfold to any number of values.
    values_left: usize,
}

impl Reader<'_> {
    fn json(&mut self, id: Id, depth: usize) -> Result<Json> {
        self.values_left = match self.values_left.checked_sub(1) {
            Some(left) if depth < MAX_DEPTH => left,
            _ => return Err(damaged("the hyper-parameters are too large, too deep or hold themselves")),
        };
        Ok(match self.heap.get(id) {
            Value::Bool(value) => (*value).into(),
            Value::Int(value) => i64::try_from(*value).map_or_else(|_| value.to_string().into(), Json::from),
            Value::Float(value) => (*value).into(),
            Value::Str(text) => (**text).into(),
            Value::List(items) | Value::Tuple(items) => {
                Json::Array(items.iter().map(|&item| self.json(item, depth + 1)).collect::<Result<_>>()?)
            }
            Value::Dict(entries) => {
                let mut map = Map::new();
                for &(key, value) in entries {
                    if let Some(key) = self.heap.text(key) {
                        map.insert(key.to_owned(), self.json(value, depth + 1)?);
                    }
                }
                Json::Object(map)
            }
            Value::Object(Object::Record { attributes: Some(attributes), .. }) => {
                // A container of omegaconf, a leaf of it, or an object that is its attributes.
                let inner = ["_content", "_val"].iter().find_map(|name| self.heap.entry(*attributes, name));
                self.json(inner.unwrap_or(*attributes), depth + 1)?
            }
            // Tensors, names of classes and the like are no settings.
            _ => Json::Null,
        })
    }
}
