//! Squared gradients of the parameters of any layer.

use tch::{Kind, Tensor};

use super::products::sum;
use super::{conv, tokens};
use crate::error::Result;
use crate::models::layer_pass::{Layer, LayerPass};
use crate::models::layout::Slot;
use crate::models::norm_constants::EPS;

/// For each parameter of the layer of `pass`: the sum over the samples of the squared gradient of the sample's loss, in
/// the shape of the parameter. `gradient` is the gradient of the summed loss with respect to the layer's output, and
/// `weights` are those of the forward pass.
pub fn squared_gradients(pass: &LayerPass, gradient: &Tensor, weights: &[Tensor]) -> Result<Vec<(Slot, Tensor)>> {
    let (x, g) = (pass.input.f_detach()?, gradient.f_detach()?);
    match pass.layer {
        Layer::Conv { weight, kernel, stride } => Ok(vec![(weight, conv::squares(&x, &g, kernel, stride)?)]),
        Layer::BatchNorm { weight, bias, running_mean, running_var } => {
            let centred = x.f_sub(&weights[running_mean.index()].f_view([1, -1, 1, 1])?)?;
            let var = weights[running_var.index()].f_add_scalar(EPS)?;
            // The sum over positions comes first: it is the gradient of one sample, [N, C].
            let by_weight = sum(&centred.f_mul(&g)?, &[2, 3])?.f_square()?;
            let by_bias = sum(&g, &[2, 3])?.f_square()?;
            Ok(vec![(weight, sum(&by_weight, &[0])?.f_div(&var)?), (bias, sum(&by_bias, &[0])?)])
        }
        Layer::Linear { weight, bias } => {
            let (by_weight, by_bias) = tokens::linear(&x, &g)?;
            Ok([Some((weight, by_weight)), bias.map(|bias| (bias, by_bias))].into_iter().flatten().collect())
        }
        Layer::LayerNorm { weight, bias, eps } => {
            let (by_weight, by_bias) = tokens::layer_norm(&x, &g, eps)?;
            Ok(vec![(weight, by_weight), (bias, by_bias)])
        }
        Layer::Patches { weight, bias, side } => {
            let (by_weight, by_bias) = tokens::patches(&x, &g, side)?;
            Ok(vec![(weight, by_weight), (bias, by_bias)])
        }
        Layer::Embedding { parameter } => {
            Ok(vec![(parameter, g.f_square()?.f_sum_dim_intlist(0, true, None::<Kind>)?)])
        }
        Layer::PositionBias { table, index } => {
            let ((positions, heads), index) = (weights[table.index()].size2()?, &weights[index.index()]);
            Ok(vec![(table, tokens::position_bias(&g, index, [positions, heads])?)])
        }
    }
}
