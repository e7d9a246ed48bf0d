//! The steps of regun's training and evaluation, without data loading and logging.

use std::sync::Arc;
use std::time::Instant;

use regun::config::schema::{OptimConfig, OptimName, Stem};
use regun::error::Result;
use regun::models::resnet::{ResNet, ResNetVariant};
use regun::models::swin::{Swin, SwinVariant};
use regun::models::vit::{ViT, ViTVariant};
use regun::models::{Architecture, Forward, FusedState, Model, Statistics};
use regun::optim::sgd::Sgd;
use regun::optim::{FlatParams, Optimizer, WeightDecayGroups};
use regun::torch::to_channels_last;
use regun::train::loss::cross_entropy_sum;
use regun::train::{Mixed, mixed};
use tch::{Cuda, Device, Kind, Tensor, no_grad};

const BUCKET_BYTES: usize = 25 << 20;

/// A step that can be repeated and timed.
pub struct TimedStep {
    step: Box<dyn FnMut() -> Result<()>>,
    device: Device,
}

impl TimedStep {
    pub fn new(device: Device, step: impl FnMut() -> Result<()> + 'static) -> Self {
        TimedStep { step: Box::new(step), device }
    }

    /// Runs `steps` steps. Returns their seconds.
    pub fn seconds(&mut self, steps: usize) -> Result<f64> {
        let clock = Instant::now();
        for _ in 0..steps {
            (self.step)()?;
        }
        if let Device::Cuda(index) = self.device {
            Cuda::synchronize(index as i64);
        }
        Ok(clock.elapsed().as_secs_f64())
    }
}

pub fn resnet18(device: Device) -> Result<Model> {
    model(Arc::new(ResNet::new(ResNetVariant::ResNet18, Stem::Cifar, 10)), device)
}

fn model(architecture: Arc<dyn Architecture>, device: Device) -> Result<Model> {
    Model::initialise(&architecture, 0, "bench", Kind::Float, device)
}

pub fn images(batch_size: i64, side: i64, device: Device) -> Result<Tensor> {
    to_channels_last(&Tensor::f_randn([batch_size, 3, side, side], (Kind::Float, device))?)
}

/// A training step: forward, mean cross entropy, backward, and SGD with the baseline's settings.
pub fn train(batch_size: i64, device: Device, narrow: Option<Mixed>) -> Result<TimedStep> {
    // The baseline's learning rate. It is small, so that repeated steps on one batch do not diverge.
    let rate = 1e-3;
    let optim = OptimConfig {
        name: OptimName::Sgd,
        lr: Some(rate),
        weight_decay: Some(5e-4),
        momentum: Some(0.9),
        nesterov: Some(true),
        betas: None,
        exclude_wd_norm_bias: None,
    };
    let mut model = resnet18(device)?;
    let mut params = FlatParams::new(&mut model.state, WeightDecayGroups::new(&optim, false), BUCKET_BYTES, |_| true)?;
    let mut sgd = Sgd::new(&optim, &params)?;
    let images = images(batch_size, 32, device)?;
    let labels = Tensor::f_randint(10, [batch_size], (Kind::Int64, device))?;
    let step = move || {
        params.zero_grad()?;
        let pass = || model.forward(Forward::train(&model.state, Statistics::Batch), &images);
        let logits = mixed::forward(narrow, pass)?;
        let loss = cross_entropy_sum(&logits, &labels, 0.0).f_div_scalar(batch_size)?;
        loss.f_backward()?;
        params.accumulate()?;
        sgd.step(&mut params, rate)
    };
    Ok(TimedStep::new(device, step))
}

/// The evaluation's forward pass of ResNet-18 on images of 32 pixels. Evaluation is always float32.
pub fn evaluate(batch_size: i64, device: Device, _: Option<Mixed>) -> Result<TimedStep> {
    forward(resnet18(device)?, images(batch_size, 32, device)?, device)
}

/// The evaluation's forward pass of Swin-T on images of 224 pixels.
pub fn evaluate_swin_t(batch_size: i64, device: Device, _: Option<Mixed>) -> Result<TimedStep> {
    forward(model(Arc::new(Swin::new(SwinVariant::TINY, 10)), device)?, images(batch_size, 224, device)?, device)
}

/// The evaluation's forward pass of ViT-B/16 on images of 224 pixels.
pub fn evaluate_vit_b_16(batch_size: i64, device: Device, _: Option<Mixed>) -> Result<TimedStep> {
    let architecture = Arc::new(ViT::new(ViTVariant::base(16), 224, 10)?);
    forward(model(architecture, device)?, images(batch_size, 224, device)?, device)
}

/// A forward pass with BatchNorm fused into the convolutions. Fusing is not timed: an evaluation does it once, not for
/// each batch.
fn forward(model: Model, images: Tensor, device: Device) -> Result<TimedStep> {
    let fused = FusedState::new(&model.state)?;
    let step = move || {
        let forward = || model.architecture().forward(&mut Forward::fused(&fused), &images);
        no_grad(forward).map(drop)
    };
    Ok(TimedStep::new(device, step))
}
