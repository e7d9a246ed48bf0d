//! Logits of a model on a part of the data, gathered at rank 0.

use tch::Kind;

use super::logits::Logits;
use crate::data::{DeviceDataset, Part};
use crate::distributed::World;
use crate::error::Result;
use crate::inference::local_rows;
use crate::models::Model;

/// Logits of a model on one part of the data, in the order of the part's indices. A collective call: rank 0 gets the
/// logits, the other ranks get `None`.
pub fn logits(world: &World, dataset: &DeviceDataset, model: &Model, part: Part) -> Result<Option<Logits>> {
    if dataset.indices(part).is_empty() {
        return Ok(world.is_root().then(|| Logits::empty(dataset.num_classes())));
    }
    let forward = model.fused()?;
    let batch_size = dataset.eval_batch_size();
    let rows = local_rows(world, dataset, part, batch_size, "evaluate", |images, _| forward(images))?;
    let Some(rows) = world.gather_rows(&rows)? else { return Ok(None) };
    let values: Vec<f32> = Vec::try_from(rows.to_kind(Kind::Float).flatten(0, -1))?;
    Logits::new(values, dataset.labels(part), dataset.num_classes()).map(Some)
}
