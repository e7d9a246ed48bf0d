//! The diagonal of the empirical Fisher information: for each weight the mean over samples of the squared gradient of
//! the sample's cross entropy (Kirkpatrick et al. 2017, arXiv 1612.00796), in evaluation mode with evaluation transforms.

use tch::{Kind, Tensor, no_grad};

use crate::data::Role;
use crate::error::{Error, Result};
use crate::models::Forward;
use crate::train::loss::cross_entropy_sum;
use crate::train::{Model, Trainer};

/// Sums over the samples of a part, one float64 tensor for each parameter in layout order; the same on all ranks.
/// `microbatch` samples are in memory at a time.
pub fn squared_gradient_sums(trainer: &Trainer<'_>, role: Role, microbatch: usize) -> Result<Vec<Tensor>> {
    let Trainer { world, corpus, model, settings } = trainer;
    let wide = (Kind::Double, corpus.device());
    let mut sums = model
        .state
        .parameters()
        .map(|(_, entry, _)| Ok(Tensor::f_zeros(&entry.shape, wide)?))
        .collect::<Result<Vec<_>>>()?;
    let samples = corpus.indices(role);
    let jobs = samples.len().div_ceil(microbatch);
    for (job, batch) in samples.chunks(microbatch).enumerate() {
        if world.deals(job, jobs) {
            let (images, labels) = corpus.fetch(role, batch, None)?;
            for (sum, squares) in sums.iter_mut().zip(squared_gradients(model, &images, &labels)?) {
                let _ = sum.f_add_(&squares)?;
            }
            world.tally(&format!("{}/fisher/{}", settings.purpose, role.name()), batch.len());
        }
    }
    sums.iter_mut().try_for_each(|sum| world.sum(sum))?;
    Ok(sums)
}

/// For each parameter, in layout order: the sum over `images` [n, C, H, W] of the squared gradient of the image's cross
/// entropy against its label.
pub fn squared_gradients(model: &Model, images: &Tensor, labels: &Tensor) -> Result<Vec<Tensor>> {
    let weights = model.state.tensors();
    // The graph starts at the images, so that the backward pass spends nothing on whole-batch gradients of weights.
    let images = images.f_detach()?.f_set_requires_grad(true)?;
    let mut context = Forward::eval(&model.state).recording_layers();
    let logits = model.architecture().forward(&mut context, &images)?;
    let passes = context.take_layers();
    let outputs: Vec<&Tensor> = passes.iter().map(|pass| &pass.output).collect();
    let loss = cross_entropy_sum(&logits, labels, 0.0);
    let gradients = Tensor::f_run_backward(&[&loss], &outputs, false, false)?;

    let mut found: Vec<Option<Tensor>> = weights.iter().map(|_| None).collect();
    no_grad(|| -> Result<()> {
        for (pass, gradient) in passes.iter().zip(&gradients) {
            for (slot, squares) in pass.squared_gradients(gradient, weights)? {
                if found[slot.index()].replace(squares).is_some() {
                    return Err(bug("is used twice", &model.state.layout().entry(slot).name));
                }
            }
        }
        Ok(())
    })?;
    let squares = |(slot, entry): (crate::models::Slot, &crate::models::layout::Entry)| {
        found[slot.index()].take().ok_or_else(|| bug("belongs to no recorded layer", &entry.name))
    };
    model.state.layout().parameters().map(squares).collect()
}

fn bug(why: &str, parameter: &str) -> Error {
    Error::new(crate::error::Kind::Bug, format!("no gradients of single samples: parameter {parameter} {why}"))
}
