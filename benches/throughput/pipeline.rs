//! Augmentation: from stored images to normalised batches, by the training transforms of a data set's configuration.

use std::error::Error;

use regun::config::schema::TransformsConfig;
use regun::config::{Request, load};
use regun::data::augment::Augment;
use regun::random::{RandomStream, SampleKeys};
use tch::{Device, Kind, Tensor};

use crate::Options;
use crate::baseline::{BaselineProcess, SCRIPT};
use crate::report::{Row, median};
use crate::steps::TimedStep;

/// Names of the data sets' configurations, in the baseline too. CIFAR-10 is 32x32 with crop and flip; Tiny ImageNet is
/// 64x64 with crop, flip and colour jitter.
pub const DATA_SETS: [&str; 2] = ["cifar10", "tiny_imagenet"];
/// Batches of one round.
const BATCHES: usize = 40;

/// Compares epochs over random images. A round is an epoch, because the baseline's loader starts and ends with one.
pub fn compare(options: &Options, data_set: &str) -> Result<Row, Box<dyn Error>> {
    let transforms =
        load(&Request { overrides: &[format!("data={data_set}")], ..Request::default() })?.config.data.transforms;
    let mut ours = epoch(&transforms, options.batch_size, options.device()?)?;
    ours.seconds(1)?;
    let arguments = options.baseline_arguments(BATCHES, options.batch_size);
    let mut baseline = BaselineProcess::start(&options.python, SCRIPT, &format!("pipeline-{data_set}"), &arguments)?;
    let (mut own, mut other) = (Vec::new(), Vec::new());
    for round in 0..options.rounds {
        own.push(ours.seconds(1)?);
        other.push(baseline.seconds()?);
        eprintln!("pipeline {data_set}: round {} of {}", round + 1, options.rounds);
    }
    let rate = |seconds| (BATCHES * options.batch_size) as f64 / median(seconds);
    let baseline_name = format!("torchvision v2, 2 workers, batch {}, {}", options.batch_size, options.device);
    Ok(Row::faster(&format!("pipeline_{data_set}"), rate(own), rate(other), &baseline_name, "images/s"))
}

fn epoch(transforms: &TransformsConfig, batch_size: usize, device: Device) -> regun::error::Result<TimedStep> {
    let side = transforms.random_crop.size.unwrap_or(32);
    let n = BATCHES * batch_size;
    let stored = Tensor::f_randint(256, [n as i64, 3, side, side], (Kind::Uint8, device))?;
    let augment = Augment::new(transforms, (side as usize, side as usize), Kind::Float, device)?;
    let stream = RandomStream::new(0, "bench");
    let mut epoch = 0;
    Ok(TimedStep::new(device, move || {
        epoch += 1;
        let mut order: Vec<usize> = (0..n).collect();
        stream.at(epoch, 0).shuffle(&mut order);
        for samples in order.chunks(batch_size) {
            let rows: Vec<i64> = samples.iter().map(|&sample| sample as i64).collect();
            let pixels = stored.f_index_select(0, &Tensor::f_from_slice(&rows)?.f_to_device(device)?)?;
            let _images = augment.train(&pixels, &SampleKeys { stream: &stream, epoch, samples })?;
        }
        Ok(())
    }))
}
