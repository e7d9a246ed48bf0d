//! Finds the weights and the facts about their training in the unpickled object of a file.
//!
//! Weights are a dict from names to tensors: the whole file (torchvision), or under `state_dict` (Lightning, with the
//! name of the module's attribute before each name), `model_state_dict` or `model` (training scripts).

use std::collections::HashSet;
use std::sync::Arc;

use super::hyper_parameters;
use super::objects::TorchObject;
use super::tensors::NamedViews;
use crate::checkpoint::errors::damaged;
use crate::checkpoint::manifest::Manifest;
use crate::error::{Error, Result};
use crate::pickle::{Heap, PickleValue, ValueId};

/// Keys of the dict under which weights may be found.
const WEIGHTS: [&str; 3] = ["state_dict", "model_state_dict", "model"];
/// Prefixes of all names that wrappers add: Lightning modules, `DataParallel`.
const PREFIXES: [&str; 2] = ["model.", "module."];
/// Maximum number of names that an error lists.
const NAMES_SHOWN: usize = 8;

/// The manifest and the named weights of the object `root`.
pub fn read(heap: &Heap<TorchObject>, root: ValueId) -> Result<(Manifest, NamedViews)> {
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

fn has_tensors(heap: &Heap<TorchObject>, id: ValueId) -> bool {
    let is_tensor =
        |&(_, value): &(ValueId, ValueId)| matches!(heap.get(value), PickleValue::Object(TorchObject::Tensor(_)));
    matches!(heap.get(id), PickleValue::Dict(entries) if entries.iter().any(is_tensor))
}

fn named_tensors(heap: &Heap<TorchObject>, dict: ValueId) -> Result<NamedViews> {
    let PickleValue::Dict(entries) = heap.get(dict) else { return Err(damaged("the weights are not a dict")) };
    let mut names = HashSet::new();
    let mut weights = Vec::with_capacity(entries.len());
    for &(key, value) in entries {
        let name = heap.text(key).ok_or_else(|| damaged("the name of a tensor is not text"))?;
        let PickleValue::Object(TorchObject::Tensor(view)) = heap.get(value) else {
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

fn without_weights(heap: &Heap<TorchObject>, root: ValueId) -> Error {
    let found = match heap.get(root) {
        PickleValue::Dict(entries) => {
            let names = entries.iter().filter_map(|&(key, _)| heap.text(key)).take(NAMES_SHOWN).map(printable);
            format!("a dict of {}", names.collect::<Vec<_>>().join(", "))
        }
        other => format!("a {}", other.type_name()),
    };
    Error::missing(format!("the file has no weights: found {found}, wanted names and tensors"))
        .hint("save them with torch.save(model.state_dict(), PATH)")
}

/// A name from the file, shortened and with control characters escaped, so that it cannot disturb the terminal.
fn printable(name: &str) -> String {
    name.chars().take(80).flat_map(char::escape_debug).collect()
}
