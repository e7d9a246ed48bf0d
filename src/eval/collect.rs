//! Logits of a model on parts of the data, gathered at rank 0.

use tch::{Kind, Tensor};

use super::logits::Logits;
use crate::data::{DeviceDataset, Part};
use crate::distributed::World;
use crate::error::{Error, ErrorKind, Result};
use crate::inference::local_rows_of;
use crate::models::Model;

/// Logits of a model on these parts of the data, each in the order of the part's indices. A collective call: rank 0
/// gets the logits, the other ranks get `None`.
pub fn logits<const N: usize>(
    world: &World,
    dataset: &DeviceDataset,
    model: &Model,
    parts: [Part; N],
) -> Result<Option<[Logits; N]>> {
    let forward = model.fused()?;
    let mut collected = Vec::with_capacity(N);
    for part in parts {
        collected.extend(logits_of(world, dataset, &forward, part, dataset.indices(part))?);
    }
    match world.is_root() {
        true => collected.try_into().map(Some).map_err(|_| Error::new(ErrorKind::Bug, "rank 0 got no logits")),
        false => Ok(None),
    }
}

/// Like [`logits`], for the first `samples` of one part.
pub fn logits_of_first(
    world: &World,
    dataset: &DeviceDataset,
    model: &Model,
    part: Part,
    samples: usize,
) -> Result<Option<Logits>> {
    logits_of(world, dataset, &model.fused()?, part, &dataset.indices(part)[..samples])
}

/// Logits of the samples `indices` at the start of a part.
fn logits_of(
    world: &World,
    dataset: &DeviceDataset,
    forward: &dyn Fn(&Tensor) -> Result<Tensor>,
    part: Part,
    indices: &[usize],
) -> Result<Option<Logits>> {
    if indices.is_empty() {
        return Ok(world.is_root().then(|| Logits::empty(dataset.num_classes())));
    }
    let batch_size = dataset.eval_batch_size();
    let rows = local_rows_of(world, dataset, part, indices, batch_size, "evaluate", |images, _| forward(images))?;
    let Some(rows) = world.gather_rows(&rows)? else { return Ok(None) };
    let values: Vec<f32> = Vec::try_from(rows.to_kind(Kind::Float).flatten(0, -1))?;
    let mut labels = dataset.labels(part);
    labels.truncate(indices.len());
    Logits::new(values, labels, dataset.num_classes()).map(Some)
}
