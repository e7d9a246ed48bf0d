//! The weights and the facts about their training in the unpickled object of a file.

use std::collections::HashMap;

use super::hyper_parameters;
use super::objects::TorchObject;
use super::search::{FoundDict, search};
use super::tensors::{StorageReader, materialise};
use crate::checkpoint::errors::printable;
use crate::checkpoint::manifest::Manifest;
use crate::checkpoint::weights_dict::WeightsDict;
use crate::error::{Error, Result};
use crate::pickle::{Heap, PickleValue, ValueId};

/// Keys of Lightning's files: its version, and the weights.
const LIGHTNING_VERSION: &str = "pytorch-lightning_version";
const LIGHTNING_WEIGHTS: &str = "state_dict";
/// Keys of the hyper-parameters in Lightning's files: today's, and the one before version 0.7.
const HYPER_PARAMETERS: [&str; 2] = ["hyper_parameters", "hparams"];
/// Maximum number of names that an error lists.
const NAMES_SHOWN: usize = 8;

/// The manifest and the dicts of tensors of the object `root`.
pub fn read(
    heap: &Heap<TorchObject>,
    root: ValueId,
    storages: &mut impl StorageReader,
) -> Result<(Manifest, Vec<WeightsDict>)> {
    let found = search(heap, root);
    if found.dicts.is_empty() {
        return Err(match found.module {
            Some(path) => whole_module(&path),
            None => without_weights(heap, root),
        });
    }
    let lightning = heap.entry(root, LIGHTNING_VERSION).and_then(|id| heap.text(id));
    let preferred = preferred(&found.dicts, lightning.is_some());
    if !preferred.iter().any(|&preferred| preferred)
        && let Some(path) = found.module
    {
        return Err(whole_module(&path));
    }
    let views = found.dicts.iter().flat_map(|dict| &dict.views).map(|(_, view)| &**view);
    let mut tensors = materialise(views, storages)?.into_iter();
    let dicts = found.dicts.into_iter().zip(preferred).map(|(dict, preferred)| WeightsDict {
        tensors: dict.views.into_iter().map(|(name, _)| name).zip(&mut tensors).collect(),
        path: dict.path,
        preferred,
        fault: dict.fault,
    });
    let dicts = dicts.collect();
    let origin = match lightning {
        Some(version) => format!("Lightning {}", printable(version)),
        None => "PyTorch".to_owned(),
    };
    let epoch = heap.entry(root, "epoch").and_then(|id| heap.int(id)).and_then(|epoch| usize::try_from(epoch).ok());
    let config = match HYPER_PARAMETERS.iter().find_map(|key| heap.entry(root, key)) {
        Some(id) => hyper_parameters::config(heap, id)?,
        None => String::new(),
    };
    let manifest = Manifest { origin: Some(origin), epoch: epoch.unwrap_or(0), config, ..Manifest::default() };
    Ok((manifest, dicts))
}

/// Tells for each dict whether it can be the weights of the file.
///
/// In a Lightning file these are under its own key. Elsewhere it is each dict with a tensor of two dimensions (or, if
/// there is none, each dict with a tensor of any shape), apart from a second name of the same dict, from a dict that
/// only holds another one among some tensors of its own, and from a dict that has but a part of the tensors of another.
fn preferred(dicts: &[FoundDict], lightning: bool) -> Vec<bool> {
    if lightning && dicts.iter().any(|dict| dict.path == LIGHTNING_WEIGHTS) {
        return dicts.iter().map(|dict| dict.path == LIGHTNING_WEIGHTS).collect();
    }
    let has_matrix = dicts.iter().any(FoundDict::has_matrix);
    let mut preferred: Vec<bool> = dicts.iter().map(|dict| dict.has_matrix() || !has_matrix).collect();
    let shapes: Vec<HashMap<&str, &[usize]>> = dicts.iter().map(FoundDict::shapes).collect();
    for (i, dict) in dicts.iter().enumerate() {
        let is_less = |(j, other): (usize, &FoundDict)| {
            let is_alias = j < i && dict.is_alias_of(other);
            let is_more = other.views.len() >= dict.views.len() || other.is_pure && !dict.is_pure;
            let holds_it = dict.holds(other) && other.has_matrix() == has_matrix && is_more;
            is_alias || holds_it || is_part(&shapes[i], &shapes[j])
        };
        if dicts.iter().enumerate().any(|(j, other)| j != i && is_less((j, other))) {
            preferred[i] = false;
        }
    }
    preferred
}

/// True if `other` has all names of `dict`, with the same shapes, and more.
fn is_part(dict: &HashMap<&str, &[usize]>, other: &HashMap<&str, &[usize]>) -> bool {
    !dict.is_empty() && dict.len() < other.len() && dict.iter().all(|(name, shape)| other.get(name) == Some(shape))
}

fn whole_module(path: &str) -> Error {
    let place = if path.is_empty() { "the file".into() } else { format!("`{path}` in the file") };
    Error::missing(format!("{place} holds a whole module with its code, wanted its weights"))
        .hint("load it with PyTorch and save only the weights: torch.save(model.state_dict(), PATH)")
}

fn without_weights(heap: &Heap<TorchObject>, root: ValueId) -> Error {
    let found = match heap.entries(root) {
        Some(entries) => {
            let names = entries.iter().filter_map(|&(key, _)| heap.text(key)).take(NAMES_SHOWN).map(printable);
            format!("a dict of {}", names.collect::<Vec<_>>().join(", "))
        }
        None => match heap.get(root) {
            PickleValue::Record(record) => format!("an object of {}", record.class),
            other => format!("a {}", other.type_name()),
        },
    };
    Error::missing(format!("the file has no weights: found {found}, wanted names and tensors"))
        .hint("save them with torch.save(model.state_dict(), PATH)")
}
