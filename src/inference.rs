//! One forward pass over a part of the data.
//!
//! Whole batches of a fixed size are dealt to the ranks, so what a batch computes does not depend on how many ranks
//! there are: gathered logits are equal to the last bit on any number of them.

use tch::{Tensor, no_grad};

use crate::data::{DeviceDataset, Part};
use crate::distributed::World;
use crate::error::Result;

/// Rows that `compute` makes of the images and labels that this rank is dealt, in order.
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
