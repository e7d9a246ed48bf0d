//! One forward pass over a part of the data.
//!
//! Whole batches of a fixed size are dealt to the ranks, so what a batch computes does not depend on how many ranks
//! there are: gathered logits are equal to the last bit on any number of them.

use tch::{Kind, Tensor, no_grad};

use super::logits::Logits;
use crate::data::{DeviceDataset, Part};
use crate::distributed::World;
use crate::error::Result;
use crate::train::Model;

/// Rows that `compute` makes of the images and labels that this rank is dealt, in order.
fn local_rows(
    world: &World,
    dataset: &DeviceDataset,
    part: Part,
    batch_size: usize,
    what: &str,
    mut compute: impl FnMut(&Tensor, &Tensor) -> Result<Tensor>,
) -> Result<Tensor> {
    let indices = dataset.indices(part);
    let batches = indices.len().div_ceil(batch_size);
    let mut rows = Vec::new();
    for (number, batch) in indices.chunks(batch_size).enumerate() {
        if world.owns_batch(number, batches) {
            let (images, labels) = dataset.load_batch(part, batch, None)?;
            rows.push(no_grad(|| compute(&images, &labels))?);
            world.tally(&format!("{what}/{}", part.name()), batch.len());
        }
    }
    if rows.is_empty() {
        // No batch for this rank: no rows, but of the width and dtype that the others have.
        let (images, labels) = dataset.load_batch(part, &indices[..indices.len().min(1)], None)?;
        rows.push(no_grad(|| compute(&images, &labels))?.narrow(0, 0, 0));
    }
    Ok(Tensor::cat(&rows, 0))
}

/// Rows of all samples of a part, [n, D] in the order of its indices, on every rank.
///
/// `compute` maps images [b, C, H, W] to rows [b, D], each of which depends on nothing but its image.
pub fn rows_everywhere(
    world: &World,
    dataset: &DeviceDataset,
    part: Part,
    mut compute: impl FnMut(&Tensor) -> Result<Tensor>,
) -> Result<Tensor> {
    let batch_size = dataset.eval_batch_size();
    labelled_rows_everywhere(world, dataset, part, batch_size, "evaluate", |images, _| compute(images))
}

/// The same where rows depend on labels (int64 [b]) too, and the size of the dealt batches is the caller's choice.
/// `what` is what the images are counted for in `run.json`.
pub fn labelled_rows_everywhere(
    world: &World,
    dataset: &DeviceDataset,
    part: Part,
    batch_size: usize,
    what: &str,
    compute: impl FnMut(&Tensor, &Tensor) -> Result<Tensor>,
) -> Result<Tensor> {
    world.all_gather_rows(&local_rows(world, dataset, part, batch_size, what, compute)?)
}

/// Logits of a model on parts of the data, in the order of their indices: at rank 0; `None` elsewhere.
pub fn logits(world: &World, dataset: &DeviceDataset, model: &Model, part: Part) -> Result<Option<Logits>> {
    if dataset.indices(part).is_empty() {
        return world.is_root().then(|| Logits::new(vec![], vec![], dataset.num_classes())).transpose();
    }
    let forward = model.fused()?;
    let batch_size = dataset.eval_batch_size();
    let rows = local_rows(world, dataset, part, batch_size, "evaluate", |images, _| forward(images))?;
    let Some(rows) = world.gather_rows(&rows)? else { return Ok(None) };
    let values: Vec<f32> = Vec::try_from(rows.to_kind(Kind::Float).flatten(0, -1))?;
    Logits::new(values, dataset.labels(part), dataset.num_classes()).map(Some)
}
