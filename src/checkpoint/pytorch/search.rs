//! Finds the dicts of tensors in the unpickled object of a file, wherever they are.
//!
//! The weights may be the whole object, or a dict in it under any key, at any depth. The state of an optimizer is no
//! dict of weights, and neither is a whole module.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;

use super::objects::TorchObject;
use super::tensors::NamedViews;
use crate::checkpoint::errors::{damaged, printable};
use crate::error::Error;
use crate::pickle::{Heap, PickleValue, ValueId};

/// Limits of depth, of values visited, of dicts found, and of members of a list that are visited.
const MAX_DEPTH: usize = 8;
const MAX_VISITS: usize = 1 << 16;
const MAX_DICTS: usize = 256;
const MAX_MEMBERS: usize = 16;

/// A dict of names and tensors.
pub struct FoundDict {
    /// Its keys from the root on, joined by points. Empty for the root itself.
    pub path: String,
    pub views: NamedViews,
    /// It holds nothing but tensors.
    pub is_pure: bool,
    /// The reason why it cannot be used.
    pub fault: Option<Error>,
}

impl FoundDict {
    /// True if it has a tensor that can be the weight of a layer: of floats, with two dimensions or more.
    pub fn has_matrix(&self) -> bool {
        self.views.iter().any(|(_, view)| view.storage().element.is_float() && view.shape().len() > 1)
            || self.fault.is_some()
    }

    /// True if the other dict is inside of this one.
    pub fn holds(&self, other: &FoundDict) -> bool {
        let rest = other.path.strip_prefix(&*self.path);
        !other.path.is_empty() && rest.is_some_and(|rest| self.path.is_empty() || rest.starts_with('.'))
    }

    /// Names and shapes.
    pub fn shapes(&self) -> HashMap<&str, &[usize]> {
        self.views.iter().map(|(name, view)| (name.as_str(), view.shape())).collect()
    }

    /// True if both have the same names with the same elements.
    pub fn is_alias_of(&self, other: &FoundDict) -> bool {
        self.views.len() == other.views.len()
            && self.views.iter().zip(&other.views).all(|(a, b)| a.0 == b.0 && a.1.is_alias_of(&b.1))
    }
}

/// All dicts of tensors in an object, from the outermost on.
#[derive(Default)]
pub struct Found {
    pub dicts: Vec<FoundDict>,
    /// Path of the first whole module.
    pub module: Option<String>,
}

/// Searches the object `root`.
pub fn search(heap: &Heap<TorchObject>, root: ValueId) -> Found {
    let mut found = Found::default();
    let mut seen = HashSet::new();
    let mut next = VecDeque::from([(root, String::new(), 0)]);
    let mut visits = 0;
    while let Some((id, path, depth)) = next.pop_front() {
        visits += 1;
        if depth > MAX_DEPTH || visits > MAX_VISITS || found.dicts.len() == MAX_DICTS || !seen.insert(id) {
            continue;
        }
        if is_module(heap, id) {
            found.module.get_or_insert(path);
            continue;
        }
        let mut dicts = heap.attributes(id);
        dicts.insert(0, id);
        for dict in dicts {
            let Some(entries) = heap.entries(dict) else { continue };
            if heap.entry(dict, "param_groups").is_some() {
                break; // the state of an optimizer
            }
            found.dicts.extend(dict_of_tensors(heap, entries, &path));
            for &(key, value) in entries {
                match heap.text(key).filter(|key| is_container(heap, value) && !key.ends_with("_extra_state")) {
                    Some(key) if next.len() < MAX_VISITS => next.push_back((value, below(&path, key), depth + 1)),
                    _ => {}
                }
            }
        }
        for (index, &item) in heap.items(id).unwrap_or_default().iter().take(MAX_MEMBERS).enumerate() {
            if is_container(heap, item) {
                next.push_back((item, below(&path, &index.to_string()), depth + 1));
            }
        }
    }
    found
}

fn below(path: &str, key: &str) -> String {
    let key = printable(key);
    if path.is_empty() { key } else { format!("{path}.{key}") }
}

fn is_container(heap: &Heap<TorchObject>, id: ValueId) -> bool {
    use PickleValue::{Dict, List, Record, Tuple};
    matches!(heap.get(id), Dict(_) | List(_) | Tuple(_) | Record(_))
}

/// True for an object with the attributes of `torch.nn.Module`.
fn is_module(heap: &Heap<TorchObject>, id: ValueId) -> bool {
    ["_parameters", "_modules"].iter().all(|name| heap.attribute(id, name).is_some())
}

/// The tensors among these entries. `None` if there are none.
fn dict_of_tensors(heap: &Heap<TorchObject>, entries: &[(ValueId, ValueId)], path: &str) -> Option<FoundDict> {
    let mut dict = FoundDict { path: path.to_owned(), views: Vec::new(), is_pure: true, fault: None };
    let mut names = HashSet::new();
    for &(key, value) in entries {
        let (Some(name), PickleValue::Object(object)) = (heap.text(key), heap.get(value)) else {
            dict.is_pure = false;
            continue;
        };
        match object {
            TorchObject::Tensor(view) => {
                if !names.insert(name) {
                    dict.fault = Some(damaged(format!("{} is twice among the weights", printable(name))));
                }
                dict.views.push((name.to_owned(), Arc::clone(view)));
            }
            TorchObject::Unreadable(class) => {
                let name = printable(name);
                let fault = Error::missing(format!("{name} is a {class}, whose elements this version cannot read"));
                dict.fault.get_or_insert(
                    fault.hint("save the weights as float32 (or float64, float16, bfloat16, or an integer type)"),
                );
            }
            TorchObject::Storage(_) => {}
        }
    }
    (!dict.views.is_empty() || dict.fault.is_some()).then_some(dict)
}
