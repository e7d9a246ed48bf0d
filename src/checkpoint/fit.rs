//! Fits the names in a file of another program to those of an architecture: finds the prefix that wrappers have put
//! before them, and tells the weights from other entries.

use std::collections::{HashMap, HashSet};

use tch::Tensor;

use super::errors::printable;
use super::weights_dict::{WantedTensor, WeightsDict};

/// Parts that wrappers put into names at any place: `torch.compile`, FSDP, activation checkpointing, DeepSpeed.
const INNER: [&str; 4] = ["_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module", "_forward_module"];
/// The part of `DataParallel`. It can wrap a part of a network, but a network can also have an attribute of this name.
const PARALLEL: &str = "module";
/// Attributes under which wrappers and Lightning modules keep a network.
const OUTER: [&str; 8] = ["module", "model", "_model", "net", "network", "backbone", "_forward_module", "ema_model"];
/// Counters of EMA and of profilers (thop), at the end of a name.
const COUNTERS: [&str; 3] = ["n_averaged", "total_ops", "total_params"];
/// Maximum number of names that the log lists.
const NAMES_SHOWN: usize = 5;

/// Index of a dict in its file, and the prefix below which the names begin.
pub(super) type Choice = (usize, String);

/// The place of an architecture's tensors in a file.
pub(super) struct Place {
    /// Index of the dict.
    pub dict: usize,
    /// The start of the names there, as they are in the file.
    given: String,
    /// The start of the names, without the parts that wrappers put inside.
    stripped: String,
    /// Number of the architecture's names that are there.
    pub names: usize,
    /// For the error that lists the places.
    pub prefix: String,
}

/// The places with most of the wanted tensors: names count, and shapes too. One of several places with the same
/// tensors. Empty if no wanted name is in the file.
pub(super) fn best_places(dicts: &[WeightsDict], choices: &[Choice], wanted: &[WantedTensor<'_>]) -> Vec<Place> {
    let shapes: HashMap<&str, Option<&[i64]>> = wanted.iter().copied().collect();
    let mut places: Vec<(usize, Place, Vec<*const u8>)> = Vec::new();
    for (dict, given) in choices {
        let mut votes: HashMap<String, (usize, usize)> = HashMap::new();
        for (name, tensor) in &dicts[*dict].tensors {
            let Some(rest) = name.strip_prefix(&**given) else { continue };
            let name = inner(rest);
            for start in starts(&name) {
                if let Some(shape) = shapes.get(&name[start..]) {
                    let (names, same) = votes.entry(name[..start].to_owned()).or_default();
                    *names += 1;
                    *same += usize::from(shape.is_none_or(|shape| tensor.size() == shape));
                }
            }
        }
        for (stripped, (names, same)) in votes {
            let prefix = format!("{given}{stripped}");
            let place = Place { dict: *dict, given: given.clone(), stripped, names, prefix };
            let memory = memory_of(&dicts[*dict].tensors, &place, &shapes);
            places.push((names + same, place, memory));
        }
    }
    let best = places.iter().map(|(score, ..)| *score).max().unwrap_or(0);
    places.retain(|(score, ..)| *score == best);
    places.sort_by(|(_, a, _), (_, b, _)| (a.dict, &a.prefix).cmp(&(b.dict, &b.prefix)));
    let mut seen = HashSet::new();
    places.retain(|(.., memory)| seen.insert(memory.clone()));
    places.into_iter().map(|(_, place, _)| place).collect()
}

/// Addresses of the wanted tensors at a place, by name. Equal for two names of one network.
fn memory_of(tensors: &[(String, Tensor)], place: &Place, shapes: &HashMap<&str, Option<&[i64]>>) -> Vec<*const u8> {
    let mut addresses: Vec<(String, *const u8)> = tensors
        .iter()
        .filter_map(|(name, tensor)| Some((below(name, place)?, tensor.data_ptr() as *const u8)))
        .filter(|(name, _)| shapes.contains_key(name.as_str()))
        .collect();
    addresses.sort();
    addresses.into_iter().map(|(_, address)| address).collect()
}

/// The tensors at a place under the architecture's names, and a list of those left out. Kept are also those whose names
/// begin like some of the architecture's: they show that the file is of another architecture.
pub(super) fn fitted(
    tensors: &[(String, Tensor)],
    place: &Place,
    wanted: &[WantedTensor<'_>],
) -> (Vec<(String, Tensor)>, String) {
    let known: HashSet<&str> = wanted.iter().map(|(name, _)| *name).collect();
    let first = |name: &str| name.split('.').next().unwrap_or_default().to_owned();
    let firsts: HashSet<String> = known.iter().map(|name| first(name)).collect();
    let (mut kept, mut left_out) = (Vec::new(), Vec::new());
    for (name, tensor) in tensors {
        let is_kept = |new: &String| known.contains(new.as_str()) || firsts.contains(&first(new)) && !is_counter(new);
        match below(name, place).filter(is_kept) {
            Some(new) => kept.push((new, tensor.shallow_clone())),
            None => left_out.push(name),
        }
    }
    let shown: Vec<String> = left_out.iter().take(NAMES_SHOWN).map(|name| printable(name)).collect();
    let more = if left_out.len() > NAMES_SHOWN { format!(", ... ({} in all)", left_out.len()) } else { String::new() };
    (kept, shown.join(", ") + &more)
}

/// A name at a place, without prefix and without the parts that wrappers put inside. `None` if it is not there.
fn below(name: &str, place: &Place) -> Option<String> {
    inner(name.strip_prefix(&*place.given)?).strip_prefix(&*place.stripped).map(str::to_owned)
}

/// The name without the parts that wrappers put inside.
fn inner(name: &str) -> String {
    name.split('.').filter(|part| !INNER.contains(part) && *part != PARALLEL).collect::<Vec<_>>().join(".")
}

/// Positions at which a part of a dotted name begins.
fn starts(name: &str) -> impl Iterator<Item = usize> {
    std::iter::once(0).chain(name.match_indices('.').map(|(at, _)| at + 1))
}

fn is_counter(name: &str) -> bool {
    COUNTERS.contains(&name.rsplit('.').next().unwrap_or_default())
}

/// The tensors below `prefix`, without the prefixes of wrappers that all names have, and without counters.
pub(super) fn without_wrappers(tensors: &[(String, Tensor)], prefix: &str) -> Vec<(String, Tensor)> {
    let below = tensors.iter().filter_map(|(name, tensor)| Some((name.strip_prefix(prefix)?, tensor.shallow_clone())));
    let strip = |name: &str| name.split('.').filter(|part| !INNER.contains(part)).collect::<Vec<_>>().join(".");
    let mut named: Vec<(String, Tensor)> =
        below.filter(|(name, _)| !is_counter(name)).map(|(name, tensor)| (strip(name), tensor)).collect();
    loop {
        let wrapper = named.first().and_then(|(name, _)| name.split_once('.')).map(|(first, _)| format!("{first}."));
        let is_wrapper = |wrapper: &String| OUTER.contains(&wrapper.trim_end_matches('.'));
        match wrapper.filter(is_wrapper) {
            Some(wrapper) if named.iter().all(|(name, _)| name.starts_with(&wrapper)) => {
                named.iter_mut().for_each(|(name, _)| drop(name.drain(..wrapper.len())));
            }
            _ => return named,
        }
    }
}
