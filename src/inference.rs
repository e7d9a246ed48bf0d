//! Runs a model over a part of the data in fixed batches.
//!
//! Batches have a fixed size, and one rank computes a whole batch. So the rows are equal to the last bit for any number
//! of ranks.

use tch::{Tensor, no_grad};

use crate::data::{DeviceDataset, Part};
use crate::distributed::World;
use crate::error::Result;

/// Rows of the batches that this rank owns, in order: [rows, D], with no rows if it owns none. `compute` maps images
/// [b, C, H, W] and labels int64 [b] to rows [b, D], and runs without gradients. `work` is the name of the work in
/// `run.json`, which counts the images.
pub fn local_rows(
    world: &World,
    dataset: &DeviceDataset,
    part: Part,
    batch_size: usize,
    work: &str,
    compute: impl FnMut(&Tensor, &Tensor) -> Result<Tensor>,
) -> Result<Tensor> {
    local_rows_of(world, dataset, part, dataset.indices(part), batch_size, work, compute)
}

/// Like [`local_rows`], for the samples `indices` of the part.
pub fn local_rows_of(
    world: &World,
    dataset: &DeviceDataset,
    part: Part,
    indices: &[usize],
    batch_size: usize,
    work: &str,
    mut compute: impl FnMut(&Tensor, &Tensor) -> Result<Tensor>,
) -> Result<Tensor> {
    let batches = indices.len().div_ceil(batch_size);
    let mut rows = Vec::new();
    for (number, batch) in indices.chunks(batch_size).enumerate() {
        if world.owns_batch(number, batches) {
            let (images, labels) = dataset.make_batch(part, batch, None)?;
            rows.push(no_grad(|| compute(&images, &labels))?);
            world.count_images(&format!("{work}/{}", part.name()), batch.len());
        }
    }
    if rows.is_empty() {
        // This rank owns no batch. It runs one image to learn the width and dtype of the rows, and keeps no row.
        let (images, labels) = dataset.make_batch(part, &indices[..indices.len().min(1)], None)?;
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
/// choice. `work` is the name of the work in `run.json`, which counts the images.
pub fn all_gather_labelled_rows(
    world: &World,
    dataset: &DeviceDataset,
    part: Part,
    batch_size: usize,
    work: &str,
    compute: impl FnMut(&Tensor, &Tensor) -> Result<Tensor>,
) -> Result<Tensor> {
    world.all_gather_rows(&local_rows(world, dataset, part, batch_size, work, compute)?)
}
