//! The initial state of a training: a torchvision checkpoint, with fresh layers in place of those that do not fit the
//! task.
//!
//! The result is that of the usual torchvision recipe: build the network with its 1000 classes, load the weights, then
//! replace layers. The head is fresh if its shape differs from the file's. The first convolution of a ResNet is fresh
//! if its shape differs and the stem is not ImageNet's. All other tensors must be in the file, with their shapes.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use tch::{Device, Kind, Tensor};

use super::published::{fetch_weights, published};
use crate::checkpoint::Checkpoint;
use crate::config::schema::{ModelConfig, Stem};
use crate::distributed::World;
use crate::error::{Error, Result};
use crate::models::{Architecture, State};

/// Weight of the first convolution of a ResNet.
const FIRST_CONVOLUTION: &str = "conv1.weight";
/// End of the names of BatchNorm's batch counters. torchvision's oldest files do not have them.
const COUNTS: &str = ".num_batches_tracked";

/// The file of a model's initial weights: `model.model.pretrained_path`, or else the published file. If `folder`
/// does not have the published file, rank 0 downloads it there, from `mirror` (`data.mirror`) if that is given. A
/// collective call.
///
/// # Errors
/// `Missing` if the file does not exist and cannot be downloaded; `Usage` if no path is given and the model has no
/// published weights.
pub fn weights_file(model: &ModelConfig, folder: &Path, mirror: Option<&str>, world: &World) -> Result<PathBuf> {
    match &model.pretrained_path {
        None => fetch_weights(&model.name, folder, mirror, world),
        Some(path) if path.is_file() => Ok(path.clone()),
        Some(path) => {
            Err(Error::missing(format!("model.model.pretrained_path={}: the file does not exist", path.display())))
        }
    }
}

/// Checks that pretrained weights are given or published if the configuration asks for them.
///
/// # Errors
/// `Usage` if they are neither.
pub fn check(model: &ModelConfig) -> Result<()> {
    match model.pretrained && model.pretrained_path.is_none() {
        true => published(&model.name).map(|_| ()),
        false => Ok(()),
    }
}

/// The initial state of a training: the tensors of the file `weights`, and those of `fresh` for layers that the file
/// does not fit.
///
/// # Errors
/// `Missing` if the file belongs to another architecture. The message lists names and shapes.
pub fn initial_state(
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
    // True if the file has no tensor of this name and shape.
    let differs = |named: &HashMap<String, Tensor>, name: &str, shape: &[i64]| {
        named.get(name).is_none_or(|tensor| tensor.size() != shape)
    };
    let head: Vec<_> = architecture.head().iter().map(|&slot| layout.spec(slot)).collect();
    let other_head = head.iter().any(|spec| differs(&named, &spec.name, &spec.shape));
    let other_stem = model.stem.is_some_and(|stem| stem != Stem::None);
    for (spec, tensor) in layout.specs().iter().zip(fresh.tensors()) {
        let is_fresh = match spec.name.as_str() {
            FIRST_CONVOLUTION => other_stem && differs(&named, FIRST_CONVOLUTION, &spec.shape),
            name if name.ends_with(COUNTS) => !named.contains_key(name),
            name => other_head && head.iter().any(|spec| spec.name == name),
        };
        if is_fresh {
            named.insert(spec.name.clone(), tensor.shallow_clone());
        }
    }
    State::from_named(layout, named, kind, device)
        .map_err(|error| error.context(format!("pretrained weights {}", weights.path.display())))
}
