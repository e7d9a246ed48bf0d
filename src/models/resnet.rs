//! ResNet-18, 34 and 50 (He et al. 2015, arXiv 1512.03385) as in torchvision, with a choice of first layers.
//!
//! Letters: N batch, C channels, H and W height and width, K classes. ResNet-50 is "v1.5": the 3x3 convolution of a
//! bottleneck has the stride, not its first 1x1 convolution.

use std::sync::Arc;

use tch::Tensor;

use super::architecture::Architecture;
use super::conv::{ConvNorm, ConvShape};
use super::forward::{FEATURES, Forward};
use super::layout::{LayoutBuilder, Slot, StateLayout};
use super::linear::Linear;
use crate::config::schema::Stem;
use crate::error::Result;
use crate::torch;

/// Channels of the four stages, before the expansion of the bottlenecks.
const WIDTHS: [i64; 4] = [64, 128, 256, 512];

/// Depth of the network and kind of its blocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ResNetVariant {
    ResNet18,
    ResNet34,
    ResNet50,
}

impl ResNetVariant {
    /// Number of blocks in each stage.
    fn depths(self) -> [usize; 4] {
        match self {
            ResNetVariant::ResNet18 => [2, 2, 2, 2],
            ResNetVariant::ResNet34 | ResNetVariant::ResNet50 => [3, 4, 6, 3],
        }
    }

    /// Output channels of a block, in multiples of its width.
    fn expansion(self) -> i64 {
        match self {
            ResNetVariant::ResNet18 | ResNetVariant::ResNet34 => 1,
            ResNetVariant::ResNet50 => 4,
        }
    }

    /// (kernel, stride) of each convolution on the main branch of a block with this stride.
    fn convolutions(self, stride: i64) -> &'static [(i64, i64)] {
        match (self, stride) {
            (ResNetVariant::ResNet50, 1) => &[(1, 1), (3, 1), (1, 1)],
            (ResNetVariant::ResNet50, _) => &[(1, 1), (3, 2), (1, 1)],
            (_, 1) => &[(3, 1), (3, 1)],
            (_, _) => &[(3, 2), (3, 1)],
        }
    }
}

/// relu(branch(x) + shortcut(x)). The branch consists of convolutions with BatchNorm, and ReLU between them.
#[derive(Debug)]
struct ResNetBlock {
    branch: Vec<ConvNorm>,
    /// None if the block keeps the shape: the shortcut is x itself.
    downsample: Option<ConvNorm>,
}

impl ResNetBlock {
    fn new(builder: &mut LayoutBuilder, variant: ResNetVariant, inputs: i64, width: i64, stride: i64) -> Self {
        const NAMES: [[&str; 2]; 3] = [["conv1", "bn1"], ["conv2", "bn2"], ["conv3", "bn3"]];
        let outputs = width * variant.expansion();
        let convolutions = variant.convolutions(stride);
        let mut channels = inputs;
        let mut branch = Vec::with_capacity(convolutions.len());
        for (i, &(kernel, stride)) in convolutions.iter().enumerate() {
            let out = if i + 1 == convolutions.len() { outputs } else { width };
            branch.push(ConvNorm::new(builder, NAMES[i], ConvShape { inputs: channels, outputs: out, kernel, stride }));
            channels = out;
        }
        let downsample = (stride != 1 || inputs != outputs).then(|| {
            let shape = ConvShape { inputs, outputs, kernel: 1, stride };
            builder.scope("downsample", |builder| ConvNorm::new(builder, ["0", "1"], shape))
        });
        ResNetBlock { branch, downsample }
    }

    fn forward(&self, ctx: &Forward<'_>, x: &Tensor) -> Result<Tensor> {
        let shortcut = match &self.downsample {
            Some(conv) => conv.forward(ctx, x)?,
            None => x.shallow_clone(),
        };
        let mut y = self.branch[0].forward(ctx, x)?;
        for conv in &self.branch[1..] {
            y = conv.forward(ctx, &y.f_relu_()?)?;
        }
        Ok(y.f_add_(&shortcut)?.f_relu_()?)
    }
}

/// A ResNet: first layers (stem), four stages of blocks, the mean over the image, a linear head.
#[derive(Debug)]
pub struct ResNet {
    layout: Arc<StateLayout>,
    stem: ConvNorm,
    max_pool: bool,
    stages: Vec<(String, Vec<ResNetBlock>)>,
    fc: Linear,
    head: Vec<Slot>,
}

impl ResNet {
    pub fn new(variant: ResNetVariant, stem: Stem, num_classes: i64) -> Self {
        let mut builder = LayoutBuilder::new();
        let (kernel, stride) = match stem {
            Stem::None => (7, 2),
            Stem::Cifar => (3, 1),
            Stem::TinyImagenet => (3, 2),
        };
        let shape = ConvShape { inputs: 3, outputs: WIDTHS[0], kernel, stride };
        let first = ConvNorm::new(&mut builder, ["conv1", "bn1"], shape);
        let mut channels = WIDTHS[0];
        let mut stages = Vec::with_capacity(WIDTHS.len());
        for (i, (&width, depth)) in WIDTHS.iter().zip(variant.depths()).enumerate() {
            let name = format!("layer{}", i + 1);
            let blocks = builder.scope(&name, |builder| {
                let mut block = |index: usize| {
                    let stride = if i > 0 && index == 0 { 2 } else { 1 };
                    let inputs = std::mem::replace(&mut channels, width * variant.expansion());
                    builder.scope(index, |builder| ResNetBlock::new(builder, variant, inputs, width, stride))
                };
                (0..depth).map(&mut block).collect()
            });
            stages.push((name, blocks));
        }
        let fc = builder.scope("fc", |builder| Linear::new(builder, channels, num_classes));
        let head = fc.slots();
        ResNet { layout: Arc::new(builder.finish()), stem: first, max_pool: stem == Stem::None, stages, fc, head }
    }
}

impl Architecture for ResNet {
    fn layout(&self) -> &Arc<StateLayout> {
        &self.layout
    }

    fn head(&self) -> &[Slot] {
        &self.head
    }

    fn logits(&self, ctx: &mut Forward<'_>, images: &Tensor) -> Result<Tensor> {
        let mut x = self.stem.forward(ctx, &torch::to_channels_last(images)?)?.f_relu_()?;
        if self.max_pool {
            x = x.f_max_pool2d(3, 2, 1, 1, false)?;
        }
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
