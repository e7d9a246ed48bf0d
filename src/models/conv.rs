//! Two-dimensional convolution, alone and followed by BatchNorm.

use tch::Tensor;

use super::batch_norm::BatchNorm;
use super::forward::Forward;
use super::init::Init;
use super::layer_pass::Layer;
use super::layout::{ConvNormPair, LayoutBuilder, Slot};
use super::statistics::Statistics;
use crate::error::Result;

/// Shape of a convolution with a square kernel and without groups. The padding keeps height and width at stride 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConvShape {
    pub inputs: i64,
    pub outputs: i64,
    pub kernel: i64,
    pub stride: i64,
}

/// Convolution without bias. Its weight has shape (out, in, k, k).
#[derive(Debug)]
pub struct Conv {
    weight: Slot,
    shape: ConvShape,
}

impl Conv {
    pub fn new(builder: &mut LayoutBuilder, shape: ConvShape) -> Self {
        let size = [shape.outputs, shape.inputs, shape.kernel, shape.kernel];
        Conv { weight: builder.parameter("weight", &size, Init::kaiming_normal_fan_out(size)), shape }
    }

    /// Maps (N, in, H, W) to (N, out, H / stride, W / stride), rounded up.
    pub fn forward(&self, ctx: &Forward<'_>, x: &Tensor) -> Result<Tensor> {
        let ConvShape { kernel, stride, .. } = self.shape;
        ctx.record_layer(Layer::Conv { weight: self.weight, kernel, stride }, x, self.with_bias(ctx, x, None)?)
    }

    /// The convolution, plus a bias [out] if there is one.
    fn with_bias(&self, ctx: &Forward<'_>, x: &Tensor, bias: Option<&Tensor>) -> Result<Tensor> {
        let ConvShape { kernel, stride, .. } = self.shape;
        let padding = (kernel - 1) / 2;
        Ok(x.f_conv2d(ctx.weight(self.weight), bias, stride, padding, 1, 1)?)
    }
}

/// Convolution followed by BatchNorm. With fused weights, both are one convolution with a bias.
#[derive(Debug)]
pub struct ConvNorm {
    conv: Conv,
    norm: BatchNorm,
}

impl ConvNorm {
    /// `names` are those of the convolution and of the BatchNorm.
    pub fn new(builder: &mut LayoutBuilder, names: [&str; 2], shape: ConvShape) -> Self {
        let conv = builder.scope(names[0], |builder| Conv::new(builder, shape));
        let norm = builder.scope(names[1], |builder| BatchNorm::new(builder, shape.outputs));
        builder.pair_conv_norm(ConvNormPair {
            conv_weight: conv.weight,
            norm_weight: norm.weight,
            norm_bias: norm.bias,
            running_mean: norm.running_mean,
            running_var: norm.running_var,
        });
        ConvNorm { conv, norm }
    }

    /// Maps (N, in, H, W) to (N, out, H / stride, W / stride), rounded up.
    pub fn forward(&self, ctx: &Forward<'_>, x: &Tensor) -> Result<Tensor> {
        match ctx.statistics() {
            Statistics::Fused => self.conv.with_bias(ctx, x, Some(ctx.weight(self.norm.bias))),
            _ => self.norm.forward(ctx, &self.conv.forward(ctx, x)?),
        }
    }
}
