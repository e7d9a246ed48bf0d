//! Projected gradient descent in an L2 ball (Madry et al. 2018, arXiv 1706.06083), with balls that grow until they hold
//! a wrong prediction.
//!
//! ```text
//! round r:  eps = epsilon_init 2^r, x = clean image
//! step:     g = gradient of CE(f(x), y) with respect to x
//!           x = x + step_factor eps g / |g|;  x projected onto the ball of radius eps around the clean image;
//!           x clamped to valid pixels
//! ```
//!
//! After `steps` steps an image that f no longer takes for y is kept with the class that f sees; the others go on to
//! the next round, which starts from the clean image again. So an image that f mistakes from the start still moves for
//! one round, and one that no round fools comes back as it was, with its own label. Radii are the configured numbers,
//! not their float32 roundings.

use tch::{Kind, Tensor, with_grad};

use crate::error::Result;
use crate::names::Attack;
use crate::train::loss::cross_entropy_sum;

/// The least and the greatest value of a valid pixel, [1, C, 1, 1] each.
pub type Bounds = (Tensor, Tensor);

impl Attack {
    /// Adversarial images [N, C, H, W], and the classes int64 [N] that the network with these `logits` sees in them.
    /// No image's result depends on another image.
    pub fn run(
        &self,
        logits: &dyn Fn(&Tensor) -> Result<Tensor>,
        images: &Tensor,
        labels: &Tensor,
        bounds: Option<&Bounds>,
    ) -> Result<(Tensor, Tensor)> {
        let (mut found, mut seen) = (images.f_detach_copy()?, labels.f_detach_copy()?);
        let mut pending = Tensor::f_arange(labels.numel() as i64, (Kind::Int64, images.device()))?;
        for round in 0..self.max_rounds {
            if pending.numel() == 0 {
                break;
            }
            let epsilon = self.epsilon_init * 2f64.powi(round as i32);
            let (clean, own) = (images.f_index_select(0, &pending)?, labels.f_index_select(0, &pending)?);
            let moved = self.search(logits, &clean, &own, epsilon, bounds)?;
            let predicted = logits(&moved)?.f_argmax(1, false)?;
            let fooled = predicted.f_ne_tensor(&own)?;
            let which = fooled.f_nonzero()?.f_flatten(0, -1)?;
            let places = pending.f_index_select(0, &which)?;
            let _ = found.f_index_copy_(0, &places, &moved.f_index_select(0, &which)?)?;
            let _ = seen.f_index_copy_(0, &places, &predicted.f_index_select(0, &which)?)?;
            pending = pending.f_masked_select(&fooled.f_logical_not()?)?;
        }
        Ok((found, seen))
    }

    /// One round: where the images are after all steps.
    fn search(
        &self,
        logits: &dyn Fn(&Tensor) -> Result<Tensor>,
        clean: &Tensor,
        labels: &Tensor,
        epsilon: f64,
        bounds: Option<&Bounds>,
    ) -> Result<Tensor> {
        let mut x = clean.shallow_clone();
        for _ in 0..self.steps {
            let gradient = with_grad(|| -> Result<Tensor> {
                let x = x.f_detach()?.f_set_requires_grad(true)?;
                let loss = cross_entropy_sum(&logits(&x)?, labels, 0.0);
                Ok(Tensor::f_run_backward(&[&loss], &[&x], false, false)?.swap_remove(0))
            })?;
            // A saturated image has a gradient of 0 and stays.
            let length = norm(&gradient)?.f_clamp_min(f64::MIN_POSITIVE)?;
            let step =
                (gradient.f_to_kind(Kind::Double)? * (self.step_factor * epsilon) / length).f_to_kind(x.kind())?;
            let offset = x.f_add(&step)?.f_sub(clean)?;
            let shrink = (norm(&offset)?.f_reciprocal()? * epsilon).f_clamp_max(1.0)?;
            x = clean.f_add(&offset.f_mul(&shrink.f_to_kind(x.kind())?)?)?;
            if let Some((least, greatest)) = bounds {
                x = x.f_clamp_tensor(Some(least), Some(greatest))?;
            }
        }
        Ok(x)
    }
}

/// L2 norms of images [N, C, H, W], float64 [N, 1, 1, 1]: squares of small float32 gradients would vanish.
fn norm(images: &Tensor) -> Result<Tensor> {
    Ok(images.f_norm_scalaropt_dim_dtype(2, [1i64, 2, 3].as_slice(), true, Kind::Double)?)
}
