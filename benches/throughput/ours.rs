//! Our side: the steps that the trainer and the evaluation do, without data loading and logging.

use std::sync::Arc;
use std::time::Instant;

use regun::config::schema::{Optim, OptimName, Stem};
use regun::error::Result;
use regun::models::resnet::{ResNet, Variant};
use regun::models::{Architecture, Folded, Forward, Statistics};
use regun::optim::sgd::Sgd;
use regun::optim::{FlatParams, Groups, Optimizer};
use regun::torch::to_channels_last;
use regun::train::loss::cross_entropy_sum;
use regun::train::{Mixed, Model, mixed};
use tch::{Cuda, Device, Kind, Tensor, no_grad};

const BUCKET_BYTES: usize = 25 << 20;

/// A step that can be repeated.
pub struct Ours {
    step: Box<dyn FnMut() -> Result<()>>,
    device: Device,
}

impl Ours {
    /// Seconds that `steps` steps took just now.
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

fn model(device: Device) -> Result<Model> {
    let architecture: Arc<dyn Architecture> = Arc::new(ResNet::new(Variant::ResNet18, Stem::Cifar, 10));
    Model::initialise(&architecture, 0, "bench", Kind::Float, device)
}

fn images(batch_size: i64, device: Device) -> Result<Tensor> {
    to_channels_last(&Tensor::f_randn([batch_size, 3, 32, 32], (Kind::Float, device))?)
}

/// Forward, mean cross entropy, backward, SGD as in the baseline.
pub fn train(batch_size: i64, device: Device, narrow: Option<Mixed>) -> Result<Ours> {
    // As in the baseline: a small rate keeps repeated steps on one batch within ordinary numbers.
    let rate = 1e-3;
    let optim = Optim {
        name: OptimName::Sgd,
        lr: Some(rate),
        weight_decay: Some(5e-4),
        momentum: Some(0.9),
        nesterov: Some(true),
        betas: None,
        exclude_wd_norm_bias: None,
    };
    let mut model = model(device)?;
    let mut params = FlatParams::new(&mut model.state, Groups::new(&optim, false), BUCKET_BYTES, |_| true)?;
    let mut sgd = Sgd::new(&optim, &params)?;
    let images = images(batch_size, device)?;
    let labels = Tensor::f_randint(10, [batch_size], (Kind::Int64, device))?;
    let step = move || {
        params.zero_grad()?;
        let logits = mixed::forward(narrow, || model.train(&images, Statistics::Batch))?;
        let loss = cross_entropy_sum(&logits, &labels, 0.0).f_div_scalar(batch_size)?;
        loss.f_backward()?;
        sgd.step(&mut params, rate)
    };
    Ok(Ours { step: Box::new(step), device })
}

/// The evaluation's forward pass. Folding is done once for each evaluation, not for each batch: it is not timed.
/// In float32, as all evaluation.
pub fn evaluate(batch_size: i64, device: Device, _: Option<Mixed>) -> Result<Ours> {
    let model = model(device)?;
    let folded = Folded::new(&model.state)?;
    let images = images(batch_size, device)?;
    let step = move || {
        let forward = || model.architecture().forward(&mut Forward::folded(&folded), &images);
        no_grad(forward).map(drop)
    };
    Ok(Ours { step: Box::new(step), device })
}
