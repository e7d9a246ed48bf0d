//! The diagonal of the empirical Fisher information: for each weight the mean over samples of the squared gradient of
//! the sample's cross entropy (Kirkpatrick et al. 2017, arXiv 1612.00796), in evaluation mode with evaluation transforms.
//!
//! Both ways to the gradients of single samples are exact: [`layers`] is the fast one, [`vmap`] needs to know nothing
//! about the layers.

pub mod layers;
pub mod vmap;

use tch::{Kind, Tensor};

use crate::data::Part;
use crate::error::Result;
use crate::models::Model;
use crate::train::Trainer;

/// Sums over the samples of a part, one float64 tensor for each parameter in layout order; the same on all ranks.
/// `microbatch` samples are in memory at a time.
pub fn squared_gradient_sums(trainer: &Trainer<'_>, part: Part, microbatch: usize) -> Result<Vec<Tensor>> {
    let Trainer { world, dataset, model, settings } = trainer;
    let wide = (Kind::Double, dataset.device());
    let mut sums = model
        .state
        .parameters()
        .map(|(_, entry, _)| Ok(Tensor::f_zeros(&entry.shape, wide)?))
        .collect::<Result<Vec<_>>>()?;
    let samples = dataset.indices(part);
    let jobs = samples.len().div_ceil(microbatch);
    for (job, batch) in samples.chunks(microbatch).enumerate() {
        if world.owns_batch(job, jobs) {
            let (images, labels) = dataset.load_batch(part, batch, None)?;
            for (sum, squares) in sums.iter_mut().zip(squared_gradients(model, &images, &labels)?) {
                let _ = sum.f_add_(&squares)?;
            }
            world.count_images(&format!("{}/fisher/{}", settings.purpose, part.name()), batch.len());
        }
    }
    sums.iter_mut().try_for_each(|sum| world.all_reduce(sum))?;
    Ok(sums)
}

/// For each parameter, in layout order: the sum over `images` [n, C, H, W] of the squared gradient of the image's cross
/// entropy against its label.
pub fn squared_gradients(model: &Model, images: &Tensor, labels: &Tensor) -> Result<Vec<Tensor>> {
    match layers::squared_gradients(model, images, labels)? {
        Some(squares) => Ok(squares),
        None => vmap::squared_gradients(model, images, labels),
    }
}
