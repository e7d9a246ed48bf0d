//! Logits of a model on parts of the data, gathered at rank 0.

use tch::Kind;

use super::logits::Logits;
use crate::data::{DeviceDataset, Part};
use crate::distributed::World;
use crate::error::{Error, ErrorKind, Result};
use crate::inference::local_rows;
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
    let batch_size = dataset.eval_batch_size();
    let mut collected = Vec::with_capacity(N);
    for part in parts {
        if dataset.indices(part).is_empty() {
            collected.push(Logits::empty(dataset.num_classes()));
            continue;
        }
        let rows = local_rows(world, dataset, part, batch_size, "evaluate", |images, _| forward(images))?;
        if let Some(rows) = world.gather_rows(&rows)? {
            let values: Vec<f32> = Vec::try_from(rows.to_kind(Kind::Float).flatten(0, -1))?;
            collected.push(Logits::new(values, dataset.labels(part), dataset.num_classes())?);
        }
    }
    match world.is_root() {
        true => collected.try_into().map(Some).map_err(|_| Error::new(ErrorKind::Bug, "rank 0 got no logits")),
        false => Ok(None),
    }
}
