//! Squared gradients of single samples of any architecture: each sample gets weights of its own, and autograd computes
//! their gradients.
//!
//! The forward code gets one image and one set of weights, and [`Vmap`] runs it for all samples at once. Memory: a copy
//! of all parameters for each image.

use tch::{Kind, Tensor, no_grad};

use crate::error::Result;
use crate::models::{Forward, Mode, Model, Statistics};
use crate::torch::Vmap;
use crate::train::loss::cross_entropy_sum;

/// For each parameter, in layout order: the sum over `images` [n, C, H, W] of the squared gradient of the image's cross
/// entropy against its label.
pub fn squared_gradients(model: &Model, images: &Tensor, labels: &Tensor) -> Result<Vec<Tensor>> {
    let samples = images.size()[0];
    let mut leaves = Vec::new();
    let losses = {
        let vmap = Vmap::new(samples)?;
        let mut weights: Vec<Tensor> = model.state.tensors().iter().map(Tensor::shallow_clone).collect();
        for (slot, entry, weight) in model.state.parameters() {
            let size: Vec<i64> = std::iter::once(samples).chain(entry.shape.iter().copied()).collect();
            let leaf = weight.f_detach()?.f_unsqueeze(0)?.f_expand(size, false)?.f_set_requires_grad(true)?;
            weights[slot.index()] = vmap.samples(&leaf)?;
            leaves.push(leaf);
        }
        // Inside of vmap each sample is a batch of one.
        let image = vmap.samples(&images.f_unsqueeze(1)?)?;
        let label = vmap.samples(&labels.f_unsqueeze(1)?)?;
        let mut context = Forward::new(&weights, Mode::Eval, Statistics::Running);
        let logits = model.architecture().forward(&mut context, &image)?;
        vmap.joined(&cross_entropy_sum(&logits, &label, 0.0))?
    };
    let gradients = Tensor::f_run_backward(&[losses.f_sum(None::<Kind>)?], &leaves, false, false)?;
    let sum_of_squares =
        |gradient: &Tensor| Ok(gradient.f_square()?.f_sum_dim_intlist([0i64].as_slice(), false, None::<Kind>)?);
    no_grad(|| gradients.iter().map(sum_of_squares).collect())
}
