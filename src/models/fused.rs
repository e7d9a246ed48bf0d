//! The fast path of evaluation: BatchNorm with running statistics is an affine map per channel, so it can be fused into
//! the convolution before it.
//!
//! With s = gamma / sqrt(var + eps) per output channel: W' = s W, b' = beta - s mean. Computed in float64 and rounded
//! once. The same forward code uses the result, see [`Forward::fused`](super::forward::Forward::fused).

use tch::{Kind, Tensor, no_grad};

use super::layout::ConvNormPair;
use super::norm;
use super::state::State;
use crate::error::Result;

/// Weights of a state with every BatchNorm fused; the bias of the convolution sits in the slot of the norm's bias.
/// A copy: changes of the state do not reach it.
#[derive(Debug)]
pub struct FusedState(State);

impl FusedState {
    pub fn new(state: &State) -> Result<Self> {
        no_grad(|| {
            let mut fused = state.deep_copy()?;
            for fold in state.layout().conv_norm_pairs() {
                let (weight, bias) = fuse_pair(state, fold)?;
                let dtype = state.get(fold.conv_weight).f_kind()?;
                fused.replace(fold.conv_weight, weight.f_to_kind(dtype)?);
                fused.replace(fold.norm_bias, bias.f_to_kind(dtype)?);
            }
            Ok(FusedState(fused))
        })
    }

    pub(super) fn tensors(&self) -> &[Tensor] {
        self.0.tensors()
    }
}

/// Weight and bias of the one convolution, in float64.
fn fuse_pair(state: &State, fold: &ConvNormPair) -> Result<(Tensor, Tensor)> {
    let double = |slot| state.get(slot).f_detach()?.f_to_kind(Kind::Double);
    let scale = double(fold.norm_weight)?.f_div(&double(fold.running_var)?.f_add_scalar(norm::EPS)?.f_sqrt()?)?;
    let bias = double(fold.norm_bias)?.f_sub(&scale.f_mul(&double(fold.running_mean)?)?)?;
    let weight = double(fold.conv_weight)?.f_mul(&scale.f_view([-1, 1, 1, 1])?)?;
    Ok((weight, bias))
}
