//! The configuration in the hyper-parameters of a Lightning file.
//!
//! `save_hyperparameters()` stores the arguments of a module. If an argument is a section of an omegaconf tree, the
//! whole tree is stored with it, because a section refers to its parent. Interpolations are stored unresolved.

use std::collections::HashSet;

use serde_json::{Map, Value as Json};

use super::objects::TorchObject;
use crate::checkpoint::errors::damaged;
use crate::error::Result;
use crate::pickle::{Heap, PickleValue, ValueId};

/// Limits of depth and number of values. A real configuration has a depth of about five and some hundred values.
const MAX_DEPTH: usize = 32;
const MAX_VALUES: usize = 1 << 16;
/// Sections that identify a configuration of this program or of the Python one.
const SECTIONS: [&str; 4] = ["data", "model", "split", "seed"];

/// The tree with most of the known sections as JSON, which is also YAML. Empty if no tree has any of them.
pub fn config(heap: &Heap<TorchObject>, hyper_parameters: ValueId) -> Result<String> {
    let mut best: Option<(usize, Map<String, Json>)> = None;
    for candidate in candidates(heap, hyper_parameters) {
        let mut reader = JsonReader { heap, values_left: MAX_VALUES };
        let Json::Object(tree) = reader.json(candidate, 0)? else { continue };
        let known = SECTIONS.iter().filter(|section| tree.contains_key(**section)).count();
        if known > best.as_ref().map_or(0, |(known, _)| *known) {
            best = Some((known, tree));
        }
    }
    Ok(best.map(|(_, tree)| format!("{:#}", Json::Object(tree))).unwrap_or_default())
}

/// The trees to search: the hyper-parameters, their direct members, and the roots of the omegaconf trees of both.
fn candidates(heap: &Heap<TorchObject>, hyper_parameters: ValueId) -> Vec<ValueId> {
    let mut found = vec![hyper_parameters];
    if let PickleValue::Dict(entries) = heap.get(hyper_parameters) {
        found.extend(entries.iter().take(MAX_VALUES).map(|&(_, value)| value));
    }
    let roots: Vec<ValueId> = found.iter().map(|&id| root(heap, id)).collect();
    found.extend(roots);
    let mut seen = HashSet::new();
    found.retain(|&id| is_section(heap, id) && seen.insert(id));
    found.truncate(MAX_DEPTH);
    found
}

fn is_section(heap: &Heap<TorchObject>, id: ValueId) -> bool {
    matches!(heap.get(id), PickleValue::Dict(_) | PickleValue::Object(TorchObject::Record { .. }))
}

/// The root of the omegaconf tree of a node.
fn root(heap: &Heap<TorchObject>, mut node: ValueId) -> ValueId {
    for _ in 0..MAX_DEPTH {
        match attribute(heap, node, "_parent") {
            Some(parent) if is_section(heap, parent) => node = parent,
            _ => break,
        }
    }
    node
}

fn attribute(heap: &Heap<TorchObject>, id: ValueId, name: &str) -> Option<ValueId> {
    match heap.get(id) {
        PickleValue::Object(TorchObject::Record { attributes: Some(attributes), .. }) => heap.entry(*attributes, name),
        _ => None,
    }
}

struct JsonReader<'a> {
    heap: &'a Heap<TorchObject>,
    /// Number of values that may still be read. Nodes can be shared, so a small pickle could unfold to any number.
    values_left: usize,
}

impl JsonReader<'_> {
    fn json(&mut self, id: ValueId, depth: usize) -> Result<Json> {
        self.values_left = match self.values_left.checked_sub(1) {
            Some(left) if depth < MAX_DEPTH => left,
            _ => return Err(damaged("the hyper-parameters are too large, too deep or hold themselves")),
        };
        Ok(match self.heap.get(id) {
            PickleValue::Bool(value) => (*value).into(),
            PickleValue::Int(value) => i64::try_from(*value).map_or_else(|_| value.to_string().into(), Json::from),
            PickleValue::Float(value) => (*value).into(),
            PickleValue::Str(text) => (**text).into(),
            PickleValue::List(items) | PickleValue::Tuple(items) => {
                Json::Array(items.iter().map(|&item| self.json(item, depth + 1)).collect::<Result<_>>()?)
            }
            PickleValue::Dict(entries) => {
                let mut map = Map::new();
                for &(key, value) in entries {
                    if let Some(key) = self.heap.text(key) {
                        map.insert(key.to_owned(), self.json(value, depth + 1)?);
                    }
                }
                Json::Object(map)
            }
            PickleValue::Object(TorchObject::Record { attributes: Some(attributes), .. }) => {
                // A container of omegaconf (`_content`), a leaf (`_val`), or an object that is only its attributes.
                let inner = ["_content", "_val"].iter().find_map(|name| self.heap.entry(*attributes, name));
                self.json(inner.unwrap_or(*attributes), depth + 1)?
            }
            // Tensors and names of classes are not settings.
            _ => Json::Null,
        })
    }
}
