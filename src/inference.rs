//! Runs a model over a part of the data in fixed batches.
//!
//! Batches have a fixed size, and each is computed by one rank as a whole. So a batch computes the same on any number of
//! ranks, and the gathered rows are equal to the last bit.

use tch::{Tensor, no_grad};

use crate::data::{DeviceDataset, Part};
use crate::distributed::World;
use crate::error::Result;

/// Rows of the batches that this rank owns, in order. `compute` maps images [b, C, H, W] and labels int64 [b] to rows
/// [b, D]. `what` is the name of the work in `run.json`, which counts the images.
pub fn local_rows(
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
            world.count_images(&format!("{what}/{}", part.name()), batch.len());
        }
    }
    if rows.is_empty() {
        // This rank owns no batch: no rows, but of the same width and dtype as on the other ranks.
        let (images, labels) = dataset.load_batch(part, &indices[..indices.len().min(1)], None)?;
        rows.push(no_grad(|| compute(&images, &labels))?.narrow(0, 0, 0));
    }
    Ok(Tensor::cat(&rows, 0))
}

/// Rows of all samples of a part, [n, D] in the order of its indices, on every rank. A collective call.
///
/// `compute` maps images [b, C, H, W] to rows [b, D]. A row depends on its image alone.
pub fn all_gather_rows(
    world: &World,
    dataset: &DeviceDataset,
    part: Part,
    mut compute: impl FnMut(&Tensor) -> Result<Tensor>,
) -> Result<Tensor> {
    let batch_size = dataset.eval_batch_size();
    all_gather_labelled_rows(world, dataset, part, batch_size, "evaluate", |images, _| compute(images))
}

/// Like [`all_gather_rows`], for rows that depend on the labels (int64 [b]) too, and with a batch size of the caller's
/// choice. `what` is the name of the work in `run.json`, which counts the images.
pub fn all_gather_labelled_rows(
    world: &World,
    dataset: &DeviceDataset,
    part: Part,
    batch_size: usize,
    what: &str,
    compute: impl FnMut(&Tensor, &Tensor) -> Result<Tensor>,
) -> Result<Tensor> {
    world.all_gather_rows(&local_rows(world, dataset, part, batch_size, what, compute)?)
}
