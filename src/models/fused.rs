//! The fast path of evaluation: BatchNorm fused into convolutions.
//!
//! BatchNorm with running statistics is an affine map per channel, so it can be part of the convolution before it. With
//! s = gamma / sqrt(var + eps) per output channel: W' = s W, b' = beta - s mean. Both are computed in float64 and
//! rounded once. The usual forward code runs with the result, see [`Forward::fused`](super::forward::Forward::fused).

use tch::{Kind, Tensor, no_grad};

use super::layout::ConvNormPair;
use super::norm_constants::EPS;
use super::state::State;
use crate::error::Result;

/// Weights of a state with every BatchNorm fused. The slot of the norm's bias holds the bias of the fused convolution.
/// The tensors are copies: later changes of the state do not reach them.
#[derive(Debug)]
pub struct FusedState(State);

impl FusedState {
    pub fn new(state: &State) -> Result<Self> {
        no_grad(|| {
            let mut fused = state.deep_copy()?;
            for pair in state.layout().conv_norm_pairs() {
                let (weight, bias) = fuse_pair(state, pair)?;
                let dtype = state.get(pair.conv_weight).f_kind()?;
                fused.replace(pair.conv_weight, weight.f_to_kind(dtype)?);
                fused.replace(pair.norm_bias, bias.f_to_kind(dtype)?);
            }
            Ok(FusedState(fused))
        })
    }

    /// All tensors in layout order.
    pub(super) fn tensors(&self) -> &[Tensor] {
        self.0.tensors()
    }
}

/// Weight and bias of the fused convolution, in float64.
fn fuse_pair(state: &State, pair: &ConvNormPair) -> Result<(Tensor, Tensor)> {
    let double = |slot| state.get(slot).f_detach()?.f_to_kind(Kind::Double);
    let scale = double(pair.norm_weight)?.f_div(&double(pair.running_var)?.f_add_scalar(EPS)?.f_sqrt()?)?;
    let bias = double(pair.norm_bias)?.f_sub(&scale.f_mul(&double(pair.running_mean)?)?)?;
    let weight = double(pair.conv_weight)?.f_mul(&scale.f_view([-1, 1, 1, 1])?)?;
    Ok((weight, bias))
}
