//! The steps of regun's unlearning: gradients of single samples, and an epoch with its evaluation.

use regun::config::{Request, load};
use regun::data::DeviceDataset;
use regun::data::device_images::DeviceImages;
use regun::data::split::SplitIndices;
use regun::distributed::World;
use regun::error::Result;
use regun::eval::evaluator::model_logits;
use regun::train::{Mixed, TrainSettings, Trainer};
use regun::unlearn::{self, fisher};
use tch::{Device, Kind, Tensor};

use crate::steps::{TimedStep, images, resnet18};

/// Squared gradients of single samples (SSD), summed over a batch. Preparation is always float32.
pub fn squared_gradients(batch_size: i64, device: Device, _: Option<Mixed>) -> Result<TimedStep> {
    let model = resnet18(device)?;
    let images = images(batch_size, 32, device)?;
    let labels = Tensor::f_randint(10, [batch_size], (Kind::Int64, device))?;
    Ok(TimedStep::new(device, move || fisher::squared_gradients(&model, &images, &labels).map(drop)))
}

// Sizes of the parts in batches, the same as in the baseline.
const RETAIN: usize = 4;
const FORGET: usize = 1;
const HELDOUT: usize = 1;
const VAL: usize = 1;
const TEST: usize = 1;
/// Batches that an epoch forwards: one training step (forget, retain, held-out), then the evaluation of retain, forget,
/// val and test.
pub const BATCHES_PER_EPOCH: usize = 3 + RETAIN + FORGET + VAL + TEST;

/// An epoch of ReGUn, then the logits of all parts.
pub fn epoch(batch_size: i64, device: Device, _: Option<Mixed>) -> Result<TimedStep> {
    let batch = usize::try_from(batch_size).unwrap_or_default();
    let images = |batches: usize| -> Result<DeviceImages> {
        let n = batch_size * batches as i64;
        Ok(DeviceImages::new(Tensor::f_randn([n, 3, 32, 32], (Kind::Float, device))?, (0..n).map(|i| i % 10).collect()))
    };
    let mut next = 0;
    let mut part = |batches: usize| {
        let start = next;
        next += batches * batch;
        (start..next).collect()
    };
    let (retain, forget, heldout, val) = (part(RETAIN), part(FORGET), part(HELDOUT), part(VAL));
    let parts = SplitIndices { retain, forget, heldout, val, ..SplitIndices::default() };
    let dataset = DeviceDataset::prepared(images(RETAIN + FORGET + HELDOUT + VAL)?, images(TEST)?, parts, 10, batch);
    let batches = format!("data.batch_size={batch}");
    let overrides = ["unlearn=regun", "unlearn.trainer.max_epochs=1", "unlearn.optim.lr=0.001", &batches];
    let overrides = overrides.map(String::from);
    let config = load(&Request { overrides: &overrides, ..Request::default() })?.config;
    let world = World::solo();
    let mut model = resnet18(device)?;
    Ok(TimedStep::new(device, move || {
        let Some(chosen) = &config.unlearn else { return Ok(()) };
        let mut method = unlearn::build(chosen)?;
        let settings = TrainSettings { names: None, ..TrainSettings::new(&config, &world, "unlearn/regun", 0) };
        Trainer { world: &world, dataset: &dataset, model: &mut model, settings }.run(&mut *method, &mut ())?;
        model_logits(&world, &dataset, &model).map(drop)
    }))
}
