//! Squared gradients of single samples from one backward pass. They follow from the input of each layer and the
//! gradient of its output, see [`per_sample`](crate::models::per_sample).

use tch::{Tensor, no_grad};

use crate::error::Result;
use crate::models::{Forward, Model, per_sample};
use crate::train::loss::cross_entropy_sum;

/// For each parameter, in layout order: the sum over `images` [n, C, H, W] of the squared gradient of the image's cross
/// entropy against its label. None unless the layer hooks see exactly one pass through the layer of every parameter:
/// otherwise the gradients of single samples are unknown.
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

    let mut squares: Vec<Option<Tensor>> = weights.iter().map(|_| None).collect();
    let once = no_grad(|| -> Result<bool> {
        let mut once = true;
        for (pass, gradient) in passes.iter().zip(&gradients) {
            for (slot, value) in per_sample::squared_gradients(pass, gradient, weights)? {
                once &= squares[slot.index()].replace(value).is_none();
            }
        }
        Ok(once)
    })?;
    let in_order = model.state.layout().parameters().map(|(slot, _)| squares[slot.index()].take());
    Ok(if once { in_order.collect() } else { None })
}
