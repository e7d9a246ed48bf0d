//! The choice of the weights in a model file: by the architecture of the run, or by those that are known.

use crate::checkpoint::{Checkpoint, CheckpointFile, WantedTensor};
use crate::config::schema::ModelConfig;
use crate::error::Result;
use crate::models::{REGISTRY, StateLayout, build};

/// End of the names of BatchNorm's batch counters. Old files do not have them.
const COUNTS: &str = ".num_batches_tracked";

/// The weights of an architecture in a file. `key` is `--weights-key`.
///
/// # Errors
/// The errors of [`CheckpointFile::fit`].
pub fn of_layout(file: CheckpointFile, key: Option<&str>, layout: &StateLayout) -> Result<Checkpoint> {
    let wanted: Vec<WantedTensor> =
        layout.specs().iter().map(|spec| (spec.name.as_str(), Some(spec.shape.as_slice()))).collect();
    file.fit(key, &wanted)
}

/// The weights in a file without a configuration. If it has all names of a known architecture, those decide (of two
/// such architectures, the larger). Otherwise the weights are the only dict of tensors. `key` is `--weights-key`.
///
/// # Errors
/// The errors of [`CheckpointFile::fit`] and [`CheckpointFile::only`].
pub fn of_any_architecture(file: CheckpointFile, key: Option<&str>) -> Result<Checkpoint> {
    let mut best: Option<Vec<String>> = None;
    for info in REGISTRY.iter().filter(|_| file.manifest.origin.is_some()) {
        let model = ModelConfig::plain(info.name, 1);
        let network = build(&model)?;
        let names =
            network.layout().specs().iter().map(|spec| spec.name.clone()).filter(|name| !name.ends_with(COUNTS));
        let names: Vec<String> = names.collect();
        let is_larger = best.as_ref().is_none_or(|best| best.len() < names.len());
        if is_larger && file.num_matching(key, &without_shapes(&names)) == names.len() {
            best = Some(names);
        }
    }
    match best {
        Some(names) => file.fit(key, &without_shapes(&names)),
        None => file.only(key),
    }
}

fn without_shapes(names: &[String]) -> Vec<WantedTensor<'_>> {
    names.iter().map(|name| (name.as_str(), None)).collect()
}
