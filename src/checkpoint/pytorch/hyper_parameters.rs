//! The configuration in the hyper-parameters of a Lightning file.
//!
//! `save_hyperparameters()` stores the arguments of a module. If an argument is a section of an omegaconf tree, the
//! whole tree is stored with it, because a section refers to its parent. Interpolations are stored unresolved.

use std::collections::HashSet;

use serde_json::{Map, Value as Json};

use super::objects::TorchObject;
use crate::checkpoint::errors::damaged;
use crate::error::Result;
use crate::pickle::{Heap, PickleValue, Record, ValueId};

/// Limits of depth and number of values. A real configuration has a depth of about five and some hundred values.
const MAX_DEPTH: usize = 32;
const MAX_VALUES: usize = 1 << 16;
/// Maximum number of values of an object that is no node of omegaconf: a criterion, a callback. Larger ones are left
/// out.
const MAX_OBJECT_VALUES: usize = 1 << 10;
/// Sections that identify a configuration of this program or of the Python one.
const SECTIONS: [&str; 4] = ["data", "model", "split", "seed"];

/// The tree with most of the known sections as JSON, which is also YAML. Empty if no tree has any of them.
///
/// # Errors
/// No tree with a known section was found, and one was too large or too deep to be searched.
pub fn config(heap: &Heap<TorchObject>, hyper_parameters: ValueId) -> Result<String> {
    let mut best: Option<(usize, Map<String, Json>)> = None;
    let mut fault = None;
    for candidate in candidates(heap, hyper_parameters) {
        let mut reader = JsonReader { heap, values_left: MAX_VALUES };
        let tree = match reader.json(candidate, 0) {
            Ok(Json::Object(tree)) => tree,
            Ok(_) => continue,
            Err(error) => {
                fault = Some(error);
                continue;
            }
        };
        let known = SECTIONS.iter().filter(|section| tree.contains_key(**section)).count();
        if known > best.as_ref().map_or(0, |(known, _)| *known) {
            best = Some((known, tree));
        }
    }
    match (best, fault) {
        (Some((_, tree)), _) => Ok(format!("{:#}", Json::Object(tree))),
        (None, Some(fault)) => Err(fault),
        (None, None) => Ok(String::new()),
    }
}

/// The trees to search: the hyper-parameters, their direct members, and the roots of the omegaconf trees of both.
fn candidates(heap: &Heap<TorchObject>, hyper_parameters: ValueId) -> Vec<ValueId> {
    let mut found = vec![hyper_parameters];
    let members = heap.entries(hyper_parameters).unwrap_or_default();
    found.extend(members.iter().take(MAX_VALUES).map(|&(_, value)| value));
    let roots: Vec<ValueId> = found.iter().map(|&id| root(heap, id)).collect();
    found.extend(roots);
    let mut seen = HashSet::new();
    found.retain(|&id| is_section(heap, id) && seen.insert(id));
    found.truncate(MAX_DEPTH);
    found
}

fn is_section(heap: &Heap<TorchObject>, id: ValueId) -> bool {
    matches!(heap.get(id), PickleValue::Dict(_) | PickleValue::Record(_))
}

/// The root of the omegaconf tree of a node.
fn root(heap: &Heap<TorchObject>, mut node: ValueId) -> ValueId {
    for _ in 0..MAX_DEPTH {
        match heap.attribute(node, "_parent") {
            Some(parent) if is_section(heap, parent) => node = parent,
            _ => break,
        }
    }
    node
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
            PickleValue::Dict(entries) => Json::Object(self.object(entries, depth)?),
            PickleValue::Record(record) if is_omegaconf(record) => {
                // A container (`_content`), or a leaf (`_val`).
                let inner = ["_content", "_val"].iter().find_map(|name| self.heap.attribute(id, name));
                inner.map_or(Ok(Json::Null), |inner| self.json(inner, depth + 1))?
            }
            PickleValue::Record(record) => self.record(id, record, depth),
            // Tensors and names of classes are not settings.
            _ => Json::Null,
        })
    }

    fn object(&mut self, entries: &[(ValueId, ValueId)], depth: usize) -> Result<Map<String, Json>> {
        let mut map = Map::new();
        for &(key, value) in entries {
            if let Some(key) = self.heap.text(key) {
                map.insert(key.to_owned(), self.json(value, depth + 1)?);
            }
        }
        Ok(map)
    }

    /// An object of any class: its entries, or else its attributes, or else its only argument. Null if it is too large.
    fn record(&mut self, id: ValueId, record: &Record, depth: usize) -> Json {
        let mut inside = JsonReader { heap: self.heap, values_left: self.values_left.min(MAX_OBJECT_VALUES) };
        let before = inside.values_left;
        let attributes = self.heap.attributes(id);
        let json = match (record.entries.as_slice(), attributes.as_slice(), record.args.as_slice()) {
            ([], [], &[only]) if record.items.is_empty() => inside.json(only, depth + 1),
            ([], [], _) => Ok(Json::Null),
            ([], attributes, _) => {
                let entries = attributes.iter().filter_map(|&id| self.heap.entries(id)).flatten().copied();
                inside.object(&entries.collect::<Vec<_>>(), depth).map(Json::Object)
            }
            (entries, ..) => inside.object(entries, depth).map(Json::Object),
        };
        self.values_left -= before - inside.values_left;
        json.unwrap_or_default()
    }
}

fn is_omegaconf(record: &Record) -> bool {
    record.class.module.split('.').next() == Some("omegaconf")
}
