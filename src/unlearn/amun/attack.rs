//! Projected gradient descent in an L2 ball (Madry et al. 2018, arXiv 1706.06083). The ball grows until it holds a
//! wrong prediction.
//!
//! ```text
//! round r:  eps = epsilon_init 2^r, x = clean image
//! step:     g = gradient of CE(f(x), y) with respect to x
//!           x = x + step_factor eps g / |g|;  x projected onto the ball of radius eps around the clean image;
//!           x clamped to valid pixels
//! ```
//!
//! After `steps` steps an image with a prediction other than y is kept, with the predicted class. The others go on to
//! the next round, which starts from the clean image again. So an image with a wrong prediction from the start still
//! moves for one round. An image that no round fools is returned unchanged, with its own label. Radii are the
//! configured numbers, not their float32 roundings.

use serde::Deserialize;
use tch::{Kind, Tensor, with_grad};

use crate::error::Result;
use crate::names::fraction;
use crate::train::loss::cross_entropy_sum;

/// The least and the greatest value of a valid pixel, [1, C, 1, 1] each.
pub type PixelBounds = (Tensor, Tensor);

/// Settings of the attack, `unlearn.attack` of the configuration.
#[derive(Debug, Clone, Copy, Deserialize)]
pub struct PgdAttack {
    /// Radius of the first round's ball, as an L2 norm of normalised images.
    pub epsilon_init: f64,
    /// Gradient steps of a round.
    pub steps: usize,
    /// Length of a step, as a multiple of the radius.
    pub step_factor: f64,
    /// Rounds, each with twice the radius of the one before.
    pub max_rounds: usize,
}

impl PgdAttack {
    /// The settings as the Python program spells them in the name of the cache file.
    pub fn file_name_part(&self) -> String {
        let PgdAttack { epsilon_init, steps, step_factor, max_rounds } = *self;
        format!("eps{}_steps{steps}_stepf{}_rounds{max_rounds}", fraction(epsilon_init), fraction(step_factor))
    }

    /// Adversarial images [N, C, H, W], and the classes int64 [N] that the network predicts for them. `logits` maps
    /// images to logits [N, K], `labels` are int64 [N], and `bounds` clamps the images. The result of an image does not
    /// depend on other images.
    pub fn run(
        &self,
        logits: &dyn Fn(&Tensor) -> Result<Tensor>,
        images: &Tensor,
        labels: &Tensor,
        bounds: Option<&PixelBounds>,
    ) -> Result<(Tensor, Tensor)> {
        let (mut adversarial, mut classes) = (images.f_detach_copy()?, labels.f_detach_copy()?);
        let mut pending = Tensor::f_arange(labels.numel() as i64, (Kind::Int64, images.device()))?;
        for round in 0..self.max_rounds {
            if pending.numel() == 0 {
                break;
            }
            let epsilon = self.epsilon_init * 2f64.powi(round as i32);
            let (clean, true_labels) = (images.f_index_select(0, &pending)?, labels.f_index_select(0, &pending)?);
            let perturbed = self.attack_round(logits, &clean, &true_labels, epsilon, bounds)?;
            let predicted = logits(&perturbed)?.f_argmax(1, false)?;
            let fooled = predicted.f_ne_tensor(&true_labels)?;
            let rows = fooled.f_nonzero()?.f_flatten(0, -1)?;
            let indices = pending.f_index_select(0, &rows)?;
            let _ = adversarial.f_index_copy_(0, &indices, &perturbed.f_index_select(0, &rows)?)?;
            let _ = classes.f_index_copy_(0, &indices, &predicted.f_index_select(0, &rows)?)?;
            pending = pending.f_masked_select(&fooled.f_logical_not()?)?;
        }
        Ok((adversarial, classes))
    }

    /// The images after all steps of one round, in the ball of radius `epsilon`.
    fn attack_round(
        &self,
        logits: &dyn Fn(&Tensor) -> Result<Tensor>,
        clean: &Tensor,
        labels: &Tensor,
        epsilon: f64,
        bounds: Option<&PixelBounds>,
    ) -> Result<Tensor> {
        let mut x = clean.shallow_clone();
        for _ in 0..self.steps {
            let gradient = with_grad(|| -> Result<Tensor> {
                let x = x.f_detach()?.f_set_requires_grad(true)?;
                let loss = cross_entropy_sum(&logits(&x)?, labels, 0.0);
                Ok(Tensor::f_run_backward(&[&loss], &[&x], false, false)?.swap_remove(0))
            })?;
            // A saturated image has a gradient of 0 and does not move.
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

/// L2 norms of images [N, C, H, W], as float64 [N, 1, 1, 1]: squares of small gradients would vanish in float32.
fn norm(images: &Tensor) -> Result<Tensor> {
    Ok(images.f_norm_scalaropt_dim_dtype(2, [1i64, 2, 3].as_slice(), true, Kind::Double)?)
}
