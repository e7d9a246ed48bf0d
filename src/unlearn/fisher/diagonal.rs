//! The diagonal of the empirical Fisher information: for each weight the mean over samples of the squared gradient of
//! the sample's cross entropy (Kirkpatrick et al. 2017, arXiv 1612.00796), in evaluation mode with evaluation
//! transforms.

use tch::{Kind, Tensor};

use super::{layers, vmap};
use crate::data::Part;
use crate::error::Result;
use crate::models::Model;
use crate::train::TrainContext;

/// Sums of squared gradients over the samples of a part: a float64 tensor for each parameter in layout order, the same
/// on all ranks. `microbatch` samples are in memory at a time. A collective call.
pub fn squared_gradient_sums(context: &TrainContext<'_>, part: Part, microbatch: usize) -> Result<Vec<Tensor>> {
    let TrainContext { world, dataset, model, settings } = context;
    let wide = (Kind::Double, dataset.device());
    let mut sums = model
        .state
        .parameters()
        .map(|(_, entry, _)| Ok(Tensor::f_zeros(&entry.shape, wide)?))
        .collect::<Result<Vec<_>>>()?;
    let samples = dataset.indices(part);
    let batches = samples.len().div_ceil(microbatch);
    for (number, batch) in samples.chunks(microbatch).enumerate() {
        if world.owns_batch(number, batches) {
            let (images, labels) = dataset.make_batch(part, batch, None)?;
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
