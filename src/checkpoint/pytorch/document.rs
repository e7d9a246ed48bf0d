//! Where a file keeps its weights and what it says of their making.
//!
//! Weights are a dict from names to tensors: the whole file (torchvision), or under `state_dict` (Lightning, with the
//! name of the module's attribute before each name), `model_state_dict` or `model` (training scripts).

use std::collections::HashSet;
use std::sync::Arc;

use super::objects::Object;
use super::tensors::View;
use super::{damaged, hyper_parameters};
use crate::checkpoint::Manifest;
use crate::error::{Error, Result};
use crate::pickle::{Heap, Id, Value};

/// Keys under which weights may lie.
const WEIGHTS: [&str; 3] = ["state_dict", "model_state_dict", "model"];
/// What a wrapper puts before each name: Lightning modules, `DataParallel`.
const PREFIXES: [&str; 2] = ["model.", "module."];
/// How many names an error lists.
const NAMES_SHOWN: usize = 8;

pub type Weights = Vec<(String, Arc<View>)>;

pub fn read(heap: &Heap<Object>, root: Id) -> Result<(Manifest, Weights)> {
    let nested = WEIGHTS.iter().find_map(|key| heap.entry(root, key).filter(|&id| has_tensors(heap, id)));
    let mut weights = match nested {
        Some(dict) => named_tensors(heap, dict)?,
        None if has_tensors(heap, root) => named_tensors(heap, root)?,
        None => return Err(without_weights(heap, root)),
    };
    for prefix in PREFIXES {
        if weights.iter().all(|(name, _)| name.starts_with(prefix)) {
            weights.iter_mut().for_each(|(name, _)| drop(name.drain(..prefix.len())));
        }
    }
    let lightning = heap.entry(root, "pytorch-lightning_version").and_then(|id| heap.text(id));
    let origin = match lightning {
        Some(version) => format!("Lightning {}", printable(version)),
        None => "PyTorch".to_owned(),
    };
    let epoch = heap.entry(root, "epoch").and_then(|id| heap.int(id)).and_then(|epoch| usize::try_from(epoch).ok());
    let config = match heap.entry(root, "hyper_parameters") {
        Some(id) => hyper_parameters::config(heap, id)?,
        None => String::new(),
    };
    let manifest = Manifest { origin: Some(origin), epoch: epoch.unwrap_or(0), config, ..Manifest::default() };
    Ok((manifest, weights))
}

fn has_tensors(heap: &Heap<Object>, id: Id) -> bool {
    let is_tensor = |&(_, value): &(Id, Id)| matches!(heap.get(value), Value::Object(Object::Tensor(_)));
    matches!(heap.get(id), Value::Dict(entries) if entries.iter().any(is_tensor))
}

fn named_tensors(heap: &Heap<Object>, dict: Id) -> Result<Weights> {
    let Value::Dict(entries) = heap.get(dict) else { return Err(damaged("the weights are not a dict")) };
    let mut names = HashSet::new();
    let mut weights = Vec::with_capacity(entries.len());
    for &(key, value) in entries {
        let name = heap.text(key).ok_or_else(|| damaged("the name of a tensor is not text"))?;
        let Value::Object(Object::Tensor(view)) = heap.get(value) else {
            let got = heap.get(value).type_name();
            return Err(damaged(format!("{} among the weights is a {got}, wanted a tensor", printable(name))));
        };
        if !names.insert(name) {
            return Err(damaged(format!("{} is twice among the weights", printable(name))));
        }
        weights.push((name.to_owned(), Arc::clone(view)));
    }
    Ok(weights)
}

fn without_weights(heap: &Heap<Object>, root: Id) -> Error {
    let found = match heap.get(root) {
        Value::Dict(entries) => {
            let names = entries.iter().filter_map(|&(key, _)| heap.text(key)).take(NAMES_SHOWN).map(printable);
            format!("a dict of {}", names.collect::<Vec<_>>().join(", "))
        }
        other => format!("a {}", other.type_name()),
    };
    Error::missing(format!("the file has no weights: found {found}, wanted names and tensors"))
        .hint("save them with torch.save(model.state_dict(), PATH)")
}

/// Names come from the file: they must neither flood nor steer the terminal.
fn printable(name: &str) -> String {
    name.chars().take(80).flat_map(char::escape_debug).collect()
}
