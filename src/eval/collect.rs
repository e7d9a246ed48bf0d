//! One forward pass over a part of the data.
//!
//! Whole batches of a fixed size are dealt to the ranks, so what a batch computes does not depend on how many ranks
//! there are: gathered logits are equal to the last bit on any number of them.

use tch::{Kind, Tensor, no_grad};

use super::logits::Logits;
use crate::data::{Corpus, Role};
use crate::dist::World;
use crate::error::Result;
use crate::train::Model;

/// Rows that `compute` makes of the images and labels that this rank is dealt, in order.
fn local_rows(
    world: &World,
    corpus: &Corpus,
    role: Role,
    batch_size: usize,
    what: &str,
    mut compute: impl FnMut(&Tensor, &Tensor) -> Result<Tensor>,
) -> Result<Tensor> {
    let indices = corpus.indices(role);
    let batches = indices.len().div_ceil(batch_size);
    let mut rows = Vec::new();
    for (number, batch) in indices.chunks(batch_size).enumerate() {
        if world.deals(number, batches) {
            let (images, labels) = corpus.fetch(role, batch, None)?;
            rows.push(no_grad(|| compute(&images, &labels))?);
            world.tally(&format!("{what}/{}", role.name()), batch.len());
        }
    }
    if rows.is_empty() {
        // No batch for this rank: no rows, but of the width and dtype that the others have.
        let (images, labels) = corpus.fetch(role, &indices[..indices.len().min(1)], None)?;
        rows.push(no_grad(|| compute(&images, &labels))?.narrow(0, 0, 0));
    }
    Ok(Tensor::cat(&rows, 0))
}

/// Rows of all samples of a part, [n, D] in the order of its indices, on every rank.
///
/// `compute` maps images [b, C, H, W] to rows [b, D], each of which depends on nothing but its image.
pub fn rows_everywhere(
    world: &World,
    corpus: &Corpus,
    role: Role,
    mut compute: impl FnMut(&Tensor) -> Result<Tensor>,
) -> Result<Tensor> {
    let batch_size = corpus.eval_batch_size();
    labelled_rows_everywhere(world, corpus, role, batch_size, "evaluate", |images, _| compute(images))
}

/// The same where rows depend on labels (int64 [b]) too, and the size of the dealt batches is the caller's choice.
/// `what` is what the images are counted for in `run.json`.
pub fn labelled_rows_everywhere(
    world: &World,
    corpus: &Corpus,
    role: Role,
    batch_size: usize,
    what: &str,
    compute: impl FnMut(&Tensor, &Tensor) -> Result<Tensor>,
) -> Result<Tensor> {
    world.all_gather_rows(&local_rows(world, corpus, role, batch_size, what, compute)?)
}

/// Logits of a model on parts of the data, in the order of their indices: at rank 0; `None` elsewhere.
pub fn logits(world: &World, corpus: &Corpus, model: &Model, role: Role) -> Result<Option<Logits>> {
    if corpus.indices(role).is_empty() {
        return world.is_root().then(|| Logits::new(vec![], vec![], corpus.num_classes())).transpose();
    }
    let forward = model.folded()?;
    let batch_size = corpus.eval_batch_size();
    let rows = local_rows(world, corpus, role, batch_size, "evaluate", |images, _| forward(images))?;
    let Some(rows) = world.gather_rows(&rows)? else { return Ok(None) };
    let values: Vec<f32> = Vec::try_from(rows.to_kind(Kind::Float).flatten(0, -1))?;
    Logits::new(values, corpus.labels(role), corpus.num_classes()).map(Some)
}
