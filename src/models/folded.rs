//! The fast path of evaluation: BatchNorm with running statistics is an affine map per channel, so it can be folded into
//! the convolution before it.
//!
//! With s = gamma / sqrt(var + eps) per output channel: W' = s W, b' = beta - s mean. Computed in float64 and rounded
//! once. The same forward code uses the result, see [`Forward::folded`](super::forward::Forward::folded).

use tch::{Kind, Tensor, no_grad};

use super::layout::Fold;
use super::norm;
use super::state::State;
use crate::error::Result;

/// Weights of a state with every BatchNorm folded; the bias of the convolution sits in the slot of the norm's bias.
/// A copy: changes of the state do not reach it.
#[derive(Debug)]
pub struct Folded(State);

impl Folded {
    pub fn new(state: &State) -> Result<Self> {
        no_grad(|| {
            let mut folded = state.deep_copy()?;
            for fold in state.layout().folds() {
                let (weight, bias) = fold_pair(state, fold)?;
                let dtype = state.get(fold.conv_weight).f_kind()?;
                folded.replace(fold.conv_weight, weight.f_to_kind(dtype)?);
                folded.replace(fold.norm_bias, bias.f_to_kind(dtype)?);
            }
            Ok(Folded(folded))
        })
    }

    pub(super) fn tensors(&self) -> &[Tensor] {
        self.0.tensors()
    }
}

/// Weight and bias of the one convolution, in float64.
fn fold_pair(state: &State, fold: &Fold) -> Result<(Tensor, Tensor)> {
    let double = |slot| state.get(slot).f_detach()?.f_to_kind(Kind::Double);
    let scale = double(fold.norm_weight)?.f_div(&double(fold.running_var)?.f_add_scalar(norm::EPS)?.f_sqrt()?)?;
    let bias = double(fold.norm_bias)?.f_sub(&scale.f_mul(&double(fold.running_mean)?)?)?;
    let weight = double(fold.conv_weight)?.f_mul(&scale.f_view([-1, 1, 1, 1])?)?;
    Ok((weight, bias))
}
