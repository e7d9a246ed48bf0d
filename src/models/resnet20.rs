//! ResNet-20 for CIFAR (He et al. 2015, arXiv 1512.03385, section 4.2): 0.27M weights, fast on small machines.
//!
//! The layers are a 3x3 convolution, three stages of three blocks with 16, 32 and 64 channels, the mean over the image
//! and a linear head. Shortcuts are the paper's option A, without parameters: if the shape changes, they take every
//! second pixel and add zero channels. Names are in torchvision's style; initial values are those of the other ResNets.

use std::sync::Arc;

use tch::Tensor;

use super::architecture::Architecture;
use super::conv::{ConvNorm, ConvShape};
use super::forward::{FEATURES, Forward};
use super::layout::{LayoutBuilder, Slot, StateLayout};
use super::linear::Linear;
use crate::error::Result;
use crate::torch;

const WIDTHS: [i64; 3] = [16, 32, 64];
const BLOCKS_PER_STAGE: usize = 3;

/// relu(conv2(relu(conv1(x))) + shortcut(x)), each convolution with BatchNorm.
#[derive(Debug)]
struct ResNet20Block {
    conv1: ConvNorm,
    conv2: ConvNorm,
    stride: i64,
    /// Number of zero channels that the shortcut adds.
    added_channels: i64,
}

impl ResNet20Block {
    fn new(builder: &mut LayoutBuilder, inputs: i64, outputs: i64, stride: i64) -> Self {
        let shape = |inputs, stride| ConvShape { inputs, outputs, kernel: 3, stride };
        ResNet20Block {
            conv1: ConvNorm::new(builder, ["conv1", "bn1"], shape(inputs, stride)),
            conv2: ConvNorm::new(builder, ["conv2", "bn2"], shape(outputs, 1)),
            stride,
            added_channels: outputs - inputs,
        }
    }

    fn forward(&self, ctx: &Forward<'_>, x: &Tensor) -> Result<Tensor> {
        let y = self.conv1.forward(ctx, x)?.f_relu_()?;
        let mut y = self.conv2.forward(ctx, &y)?;
        Ok(y.f_add_(&self.shortcut(x)?)?.f_relu_()?)
    }

    fn shortcut(&self, x: &Tensor) -> Result<Tensor> {
        if self.stride == 1 {
            return Ok(x.shallow_clone());
        }
        let sampled = x.f_slice(2, None, None, self.stride)?.f_slice(3, None, None, self.stride)?;
        // As in the paper, the zeros come after the other channels.
        Ok(sampled.f_constant_pad_nd([0, 0, 0, 0, 0, self.added_channels])?)
    }
}

/// A ResNet-20: a 3x3 convolution, three stages of blocks, the mean over the image, a linear head.
#[derive(Debug)]
pub struct ResNet20 {
    layout: Arc<StateLayout>,
    stem: ConvNorm,
    stages: Vec<(String, Vec<ResNet20Block>)>,
    fc: Linear,
    head: Vec<Slot>,
}

impl ResNet20 {
    pub fn new(num_classes: i64) -> Self {
        let mut builder = LayoutBuilder::new();
        let mut channels = WIDTHS[0];
        let shape = ConvShape { inputs: 3, outputs: channels, kernel: 3, stride: 1 };
        let stem = ConvNorm::new(&mut builder, ["conv1", "bn1"], shape);
        let mut stages = Vec::with_capacity(WIDTHS.len());
        for (i, width) in WIDTHS.into_iter().enumerate() {
            let name = format!("layer{}", i + 1);
            let blocks = builder.scope(&name, |builder| {
                let mut block = |index: usize| {
                    let stride = if i > 0 && index == 0 { 2 } else { 1 };
                    let inputs = std::mem::replace(&mut channels, width);
                    builder.scope(index, |builder| ResNet20Block::new(builder, inputs, width, stride))
                };
                (0..BLOCKS_PER_STAGE).map(&mut block).collect()
            });
            stages.push((name, blocks));
        }
        let fc = builder.scope("fc", |builder| Linear::new(builder, channels, num_classes));
        let head = fc.slots();
        ResNet20 { layout: Arc::new(builder.finish()), stem, stages, fc, head }
    }
}

impl Architecture for ResNet20 {
    fn layout(&self) -> &Arc<StateLayout> {
        &self.layout
    }

    fn head(&self) -> &[Slot] {
        &self.head
    }

    fn logits(&self, ctx: &mut Forward<'_>, images: &Tensor) -> Result<Tensor> {
        let mut x = self.stem.forward(ctx, &torch::to_channels_last(images)?)?.f_relu_()?;
        for (name, blocks) in &self.stages {
            for block in blocks {
                x = block.forward(ctx, &x)?;
            }
            ctx.feature(name, &x);
        }
        let features = x.f_adaptive_avg_pool2d([1, 1])?.f_flatten(1, -1)?;
        ctx.feature(FEATURES, &features);
        self.fc.forward(ctx, &features)
    }
}
