//! Starting from weights that were trained on ImageNet: a torchvision checkpoint whose head has another number of classes.
//!
//! As the torchvision recipe goes: build the network with its 1000 classes, load, then put fresh layers where the task
//! needs others. Fresh are the head where the number of classes differs, and the first convolution of a ResNet where its
//! stem is not ImageNet's; everything else must be in the file, with its shape.

pub mod published;

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use tch::{Device, Kind, Tensor};

use crate::checkpoint::Checkpoint;
use crate::config::schema::{ModelConfig, Stem};
use crate::distributed::World;
use crate::error::{Error, Result};
use crate::models::{Architecture, State};

/// The first convolution of a ResNet.
const FIRST_CONVOLUTION: &str = "conv1.weight";
/// Counts of BatchNorm, which torchvision's oldest files do not have.
const COUNTS: &str = ".num_batches_tracked";

/// The file of weights that a model starts from: the given one, or the published one, which rank 0 downloads into
/// `folder` where it is absent (`mirror` as `data.mirror`). A collective call.
///
/// # Errors
/// `Missing` where it is not there and cannot be had; `Usage` where none is given and none is published.
pub fn file(model: &ModelConfig, folder: &Path, mirror: Option<&str>, world: &World) -> Result<PathBuf> {
    match &model.pretrained_path {
        None => published::fetch_weights(&model.name, folder, mirror, world),
        Some(path) if path.is_file() => Ok(path.clone()),
        Some(path) => {
            Err(Error::missing(format!("model.model.pretrained_path={}: there is no such file", path.display())))
        }
    }
}

/// A usage error where a model shall start from weights that nobody has published or given.
pub fn check(model: &ModelConfig) -> Result<()> {
    match model.pretrained && model.pretrained_path.is_none() {
        true => published::published(&model.name).map(|_| ()),
        false => Ok(()),
    }
}

/// The state that training starts from: the weights of the file, and of `fresh` what the file cannot give.
///
/// # Errors
/// Of kind `Missing` where the file is of another architecture; names and shapes are listed.
pub fn start(
    model: &ModelConfig,
    architecture: &dyn Architecture,
    weights: &Checkpoint,
    fresh: &State,
    kind: Kind,
    device: Device,
) -> Result<State> {
    let mut named: HashMap<String, Tensor> =
        weights.tensors.iter().map(|(name, tensor)| (name.clone(), tensor.shallow_clone())).collect();
    let layout = architecture.layout();
    let differs = |named: &HashMap<String, Tensor>, name: &str, shape: &[i64]| {
        named.get(name).is_none_or(|tensor| tensor.size() != shape)
    };
    let head: Vec<_> = architecture.head().iter().map(|&slot| layout.entry(slot)).collect();
    let other_head = head.iter().any(|entry| differs(&named, &entry.name, &entry.shape));
    let other_stem = model.stem.is_some_and(|stem| stem != Stem::None);
    for (entry, tensor) in layout.entries().iter().zip(fresh.tensors()) {
        let is_fresh = match entry.name.as_str() {
            FIRST_CONVOLUTION => other_stem && differs(&named, FIRST_CONVOLUTION, &entry.shape),
            name if name.ends_with(COUNTS) => !named.contains_key(name),
            name => other_head && head.iter().any(|entry| entry.name == name),
        };
        if is_fresh {
            named.insert(entry.name.clone(), tensor.shallow_clone());
        }
    }
    State::from_named(layout, named, kind, device)
        .map_err(|error| error.context(format!("pretrained weights {}", weights.path.display())))
}
