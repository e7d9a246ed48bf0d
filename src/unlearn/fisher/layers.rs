//! Squared gradients of single samples from one backward pass. They follow from the input of each layer and the gradient
//! of its output, see [`per_sample`](crate::models::per_sample).

use tch::{Tensor, no_grad};

use crate::error::Result;
use crate::models::{Forward, Model, per_sample};
use crate::train::loss::cross_entropy_sum;

/// For each parameter, in layout order: the sum over `images` [n, C, H, W] of the squared gradient of the image's cross
/// entropy against its label. None if a parameter does not belong to exactly one pass through a layer that layer hooks
/// see: its gradients of single samples are unknown then.
pub fn squared_gradients(model: &Model, images: &Tensor, labels: &Tensor) -> Result<Option<Vec<Tensor>>> {
    let weights = model.state.tensors();
    // The graph starts at the images, so that the backward pass spends nothing on whole-batch gradients of weights.
    let images = images.f_detach()?.f_set_requires_grad(true)?;
    let mut context = Forward::eval(&model.state).with_layer_hooks();
    let logits = model.architecture().forward(&mut context, &images)?;
    let passes = context.take_layer_passes();
    if passes.is_empty() {
        return Ok(None);
    }
    let outputs: Vec<&Tensor> = passes.iter().map(|pass| &pass.output).collect();
    let loss = cross_entropy_sum(&logits, labels, 0.0);
    let gradients = Tensor::f_run_backward(&[&loss], &outputs, false, false)?;

    let mut found: Vec<Option<Tensor>> = weights.iter().map(|_| None).collect();
    let once = no_grad(|| -> Result<bool> {
        let mut once = true;
        for (pass, gradient) in passes.iter().zip(&gradients) {
            for (slot, squares) in per_sample::squared_gradients(pass, gradient, weights)? {
                once &= found[slot.index()].replace(squares).is_none();
            }
        }
        Ok(once)
    })?;
    let squares = model.state.layout().parameters().map(|(slot, _)| found[slot.index()].take());
    Ok(if once { squares.collect() } else { None })
}
