//! From stored pixels to batches: transforms against a plain loop over pixels, and the samples of each batch.

mod formula;

use std::collections::BTreeSet;

use regun::config::schema::TransformsConfig;
use regun::config::{Request, load};
use regun::data::augment::Augment;
use regun::data::device_images::DeviceImages;
use regun::data::split::SplitIndices;
use regun::data::{Batch, DataLoader, DeviceDataset, Part, Pool, Sampler, View};
use regun::data::{Dataset, Fingerprints, Images};
use regun::distributed::World;
use regun::random::{RandomStream, SampleKeys};
use regun::torch::is_channels_last;
use tch::{Device, Kind, Tensor};

const SAMPLES: usize = 96;
const CHANNELS: usize = 3;
/// The sides are neither equal nor square, so a test notices swapped sides.
const HEIGHT: usize = 7;
const WIDTH: usize = 5;
const PADDING: usize = 2;
const SIDE: usize = 6;

/// The transforms of CIFAR-10, changed by `overrides` of `data.transforms`.
fn transforms(overrides: &[&str]) -> TransformsConfig {
    config_data(overrides).transforms
}

fn config_data(overrides: &[&str]) -> regun::config::schema::DataConfig {
    let overrides: Vec<String> = overrides
        .iter()
        .map(|override_| format!("data.transforms.{override_}"))
        .chain(["data=cifar10".into()])
        .collect();
    load(&Request { overrides: &overrides, ..Request::default() }).unwrap().config.data
}

/// Crop to 6 x 6 out of the padded 11 x 9, and flip half of the images; `normalize` leaves [0, 1] as it is.
const CROP_AND_FLIP: [&str; 5] = [
    "random_crop.size=6",
    "random_crop.padding=2",
    "horizontal_flip.p=0.5",
    "normalize.mean=[0,0,0]",
    "normalize.std=[1,1,1]",
];

/// Pixels from 1 to 255: 0 is padding.
fn pixels() -> Vec<u8> {
    (0..SAMPLES * CHANNELS * HEIGHT * WIDTH).map(|i| (1 + formula::mix(i as u64) % 255) as u8).collect()
}

fn stored() -> Tensor {
    let shape = [SAMPLES, CHANNELS, HEIGHT, WIDTH].map(|side| side as i64);
    Tensor::from_slice(&pixels()).view(shape)
}

fn rows(tensor: &Tensor, samples: &[usize]) -> Tensor {
    let samples: Vec<i64> = samples.iter().map(|&sample| sample as i64).collect();
    tensor.index_select(0, &Tensor::from_slice(&samples))
}

fn augment(overrides: &[&str]) -> Augment {
    Augment::new(&transforms(overrides), (HEIGHT, WIDTH), Kind::Float, Device::Cpu).unwrap()
}

/// The training transforms of these samples.
fn train(augment: &Augment, stream: &RandomStream, epoch: u64, samples: &[usize]) -> Tensor {
    augment.train(&rows(&stored(), samples), &SampleKeys { stream, epoch, samples }).unwrap()
}

/// Images in [0, 1] back to bytes, row-major.
fn bytes(images: &Tensor) -> Vec<u8> {
    (images * 255.0).round().to_kind(Kind::Uint8).contiguous().view(-1).try_into().unwrap()
}

fn image_of(all: &[u8], sample: usize) -> &[u8] {
    &all[sample * CHANNELS * HEIGHT * WIDTH..][..CHANNELS * HEIGHT * WIDTH]
}

/// One image, one pixel at a time: pad with zeros, cut the window at (`top`, `left`), then mirror it.
fn cropped(
    image: &[u8],
    padding: usize,
    (height, width): (usize, usize),
    top: usize,
    left: usize,
    flip: bool,
) -> Vec<u8> {
    let mut out = Vec::new();
    for channel in 0..CHANNELS {
        for y in 0..height {
            for x in 0..width {
                let x = if flip { width - 1 - x } else { x };
                let (row, column) = (top + y, left + x);
                let inside = (padding..padding + HEIGHT).contains(&row) && (padding..padding + WIDTH).contains(&column);
                out.push(match inside {
                    true => image[(channel * HEIGHT + row - padding) * WIDTH + column - padding],
                    false => 0,
                });
            }
        }
    }
    out
}

#[test]
fn crop_and_flip_equal_a_plain_loop_over_pixels() {
    let (augment, stream, all) = (augment(&CROP_AND_FLIP), RandomStream::new(7, "base/augment"), pixels());
    let samples: Vec<usize> = (0..SAMPLES).collect();
    let (spare_height, spare_width) = (HEIGHT + 2 * PADDING - SIDE, WIDTH + 2 * PADDING - SIDE);
    let (mut tops, mut lefts, mut flips) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
    for epoch in [0, 1, 1 << 20] {
        let wanted: Vec<u8> = samples
            .iter()
            .flat_map(|&sample| {
                let mut draws = stream.at(epoch, sample as u64);
                let top = draws.below(spare_height as u64 + 1) as usize;
                let left = draws.below(spare_width as u64 + 1) as usize;
                let flip = draws.uniform() < 0.5;
                tops.insert(top);
                lefts.insert(left);
                flips.insert(flip);
                cropped(image_of(&all, sample), PADDING, (SIDE, SIDE), top, left, flip)
            })
            .collect();
        let images = train(&augment, &stream, epoch, &samples);
        assert_eq!(images.size(), [SAMPLES as i64, 3, 6, 6]);
        assert!(is_channels_last(&images));
        assert!(bytes(&images) == wanted, "epoch {epoch}");
    }
    // Every window and both directions occurred: the last row and column of the padded image were reached too.
    assert!(tops.into_iter().eq(0..=spare_height) && lefts.into_iter().eq(0..=spare_width) && flips.len() == 2);
}

#[test]
fn a_flip_without_a_crop_keeps_all_pixels() {
    let off = ["random_crop.enabled=false", "normalize.mean=[0,0,0]", "normalize.std=[1,1,1]"];
    let (stream, samples, all) = (RandomStream::new(7, "base/augment"), [3, 4], pixels());
    for (p, flip) in [(0.0, false), (1.0, true)] {
        let augment = augment(&[&off[..], &[&format!("horizontal_flip.p={p}")]].concat());
        let wanted = samples.map(|sample| cropped(image_of(&all, sample), 0, (HEIGHT, WIDTH), 0, 0, flip)).concat();
        assert_eq!(bytes(&train(&augment, &stream, 0, &samples)), wanted, "p = {p}");
    }
    let disabled = augment(&[&off[..], &["horizontal_flip.p=1", "horizontal_flip.enabled=false"]].concat());
    assert_eq!(bytes(&train(&disabled, &stream, 0, &samples)), samples.map(|s| image_of(&all, s)).concat());
}

/// torchvision 0.26, `to_dtype(float32, scale=True)` and `normalize`: times float32(1/255), minus float32(mean),
/// divided by float32(std), each rounded to float32.
#[test]
fn normalised_values_equal_torchvisions_to_the_last_bit() {
    let (mean, std) = ([0.4914, 0.4822, 0.4465f64], [0.247, 0.2435, 0.2616f64]);
    let augment = Augment::new(&transforms(&[]), (32, 32), Kind::Float, Device::Cpu).unwrap();
    // Each channel holds every value that a pixel can have.
    let every: Vec<u8> = (0..3).flat_map(|_| 0..=255u8).collect();
    let images = augment.eval(&Tensor::from_slice(&every).view([1, 3, 16, 16])).unwrap();
    assert!(is_channels_last(&images));
    let got: Vec<f32> = images.contiguous().view(-1).try_into().unwrap();
    for (i, &value) in every.iter().enumerate() {
        let channel = i / 256;
        let wanted = (f32::from(value) * (1.0f64 / 255.0) as f32 - mean[channel] as f32) / std[channel] as f32;
        assert_eq!(got[i].to_bits(), wanted.to_bits(), "pixel {value} in channel {channel}: {} {wanted}", got[i]);
    }
}

#[test]
fn a_shard_without_samples_has_the_shape_of_the_others() {
    let images = train(&augment(&CROP_AND_FLIP), &RandomStream::new(7, "base/augment"), 0, &[]);
    assert_eq!(images.size(), [0, 3, SIDE as i64, SIDE as i64]);
}

#[test]
fn an_image_is_the_same_in_any_batch_and_differs_between_epochs() {
    let (augment, stream) = (augment(&CROP_AND_FLIP), RandomStream::new(7, "base/augment"));
    let samples: Vec<usize> = (0..SAMPLES).collect();
    let together = train(&augment, &stream, 5, &samples);
    let backwards: Vec<usize> = samples.iter().rev().copied().collect();
    assert_eq!(train(&augment, &stream, 5, &backwards), together.flip([0]));
    for chunk in samples.chunks(7) {
        assert_eq!(train(&augment, &stream, 5, chunk), rows(&together, chunk));
    }
    // One draw in 6 x 4 x 2 repeats by chance; more than 10 of 96 would not be chance.
    let same_as =
        |other: Tensor| samples.iter().filter(|&&sample| rows(&other, &[sample]) == rows(&together, &[sample])).count();
    assert!(same_as(train(&augment, &stream, 6, &samples)) <= 10);
    assert!(same_as(train(&augment, &RandomStream::new(7, "retrained/augment"), 5, &samples)) <= 10);
    assert!(same_as(train(&augment, &RandomStream::new(8, "base/augment"), 5, &samples)) <= 10);
}

#[test]
fn the_message_about_an_impossible_transform_names_it() {
    for (overrides, named) in [
        (&["random_crop.size=10", "random_crop.padding=2"][..], "width 5 + 2 x 2"),
        (&["random_crop.size=12", "random_crop.padding=3"][..], "width 5 + 2 x 3"),
    ] {
        let error = Augment::new(&transforms(overrides), (HEIGHT, WIDTH), Kind::Float, Device::Cpu).err().unwrap();
        assert!(error.hint_text().is_some_and(|hint| hint.contains("random_crop.size=5, or null")), "{error}");
        assert!(error.message().contains("random_crop.size") && error.message().contains(named), "{error}");
    }
}

// ---- samples of the batches ----

const RETAIN: [usize; 11] = [1, 2, 4, 7, 8, 11, 13, 14, 16, 17, 19];
const FORGET: [usize; 4] = [0, 5, 6, 12];

/// Twenty samples of one pixel, which is their index. Sample i has label 100 + i.
fn numbered() -> DeviceDataset {
    let set = |n: i64| {
        let values = Tensor::arange(n, (Kind::Float, Device::Cpu)).view([n, 1, 1, 1]);
        DeviceImages::new(values, (100..100 + n).collect())
    };
    let parts = SplitIndices { retain: RETAIN.into(), forget: FORGET.into(), ..SplitIndices::default() };
    DeviceDataset::prepared(set(20), set(3), parts, 200, 4)
}

fn loader(sampler: Sampler, dataset: &DeviceDataset, batch_size: usize) -> DataLoader {
    DataLoader::new(sampler, dataset, batch_size, 7, "base/train").unwrap()
}

/// Sample index of each image of a batch of [`numbered`]. Checks that image and label agree.
fn members(batch: &Batch) -> Vec<usize> {
    let images: Vec<f32> = batch.images.view(-1).try_into().unwrap();
    let labels: Vec<i64> = (&batch.labels).try_into().unwrap();
    let members: Vec<usize> = images.iter().map(|&value| value as usize).collect();
    assert!(
        members.iter().zip(&labels).all(|(&member, &label)| label == 100 + member as i64),
        "{members:?} {labels:?}"
    );
    members
}

/// One pass of a sampler that ends it, batch by batch.
fn pass(loader: &mut DataLoader, dataset: &DeviceDataset, epoch: u64) -> Vec<Vec<usize>> {
    (0..loader.batches())
        .map(|step| members(&loader.next_batch(dataset, &World::solo(), epoch, step).unwrap()))
        .collect()
}

fn sorted(mut members: Vec<usize>) -> Vec<usize> {
    members.sort_unstable();
    members
}

#[test]
fn a_pass_holds_every_sample_once_and_keeps_the_last_partial_batch() {
    let dataset = numbered();
    let mut loader = loader(Sampler::train(Part::Retain), &dataset, 4);
    assert_eq!((loader.samples(), loader.batches()), (11, 3));
    assert_eq!([0, 1, 2].map(|step| loader.size_at(0, step, 0)), [4, 4, 3]);
    let passes: Vec<_> = (0..4).map(|epoch| pass(&mut loader, &dataset, epoch)).collect();
    for pass in &passes {
        assert_eq!(pass.iter().map(Vec::len).collect::<Vec<_>>(), [4, 4, 3]);
        assert_eq!(sorted(pass.concat()), RETAIN);
    }
    let orders: BTreeSet<_> = passes.iter().map(|pass| pass.concat()).collect();
    assert_eq!(orders.len(), 4, "each pass has an order of its own");
    assert!(!orders.contains(RETAIN.as_slice()));
}

/// A batch can be made again: the order is a function of the epoch, not of earlier batches.
#[test]
fn a_pass_does_not_depend_on_earlier_passes() {
    let dataset = numbered();
    let mut whole = loader(Sampler::train(Part::Retain), &dataset, 4);
    let second = [0, 1].map(|epoch| pass(&mut whole, &dataset, epoch))[1].clone();
    let mut late = loader(Sampler::train(Part::Retain), &dataset, 4);
    assert_eq!(members(&late.next_batch(&dataset, &World::solo(), 1, 2).unwrap()), second[2]);
    let another_size = pass(&mut loader(Sampler::train(Part::Retain), &dataset, 5), &dataset, 1);
    assert_eq!(another_size.concat(), second.concat());
}

#[test]
fn a_sampler_that_is_not_shuffled_keeps_data_set_order() {
    let dataset = numbered();
    let mut loader = loader(Sampler { shuffled: false, ..Sampler::train(Part::Retain) }, &dataset, 4);
    assert_eq!([0, 9].map(|epoch| pass(&mut loader, &dataset, epoch).concat()), [RETAIN; 2]);
}

#[test]
fn a_batch_holds_the_positions_of_its_samples() {
    let dataset = numbered();
    let mut loader = loader(Sampler::train(Part::Retain), &dataset, 4);
    let batch = loader.next_batch(&dataset, &World::solo(), 0, 2).unwrap();
    let positions: Vec<usize> = batch.local().iter().map(|&position| dataset.indices(Part::Retain)[position]).collect();
    assert_eq!(positions, members(&batch));
    assert_eq!((batch.global.len(), batch.shard, batch.step_count), (3, 0..3, 3));
}

#[test]
fn joined_pools_keep_images_and_labels_together() {
    let dataset = numbered();
    // Made samples 50 to 56, with pixel and label like the others.
    let made = Tensor::arange_start(50, 57, (Kind::Float, Device::Cpu));
    let labels = (&made + 100.0).to_kind(Kind::Int64);
    let pools = vec![
        Pool::Part(Part::Forget, View::Eval),
        Pool::Made { images: made.view([7, 1, 1, 1]), labels },
        Pool::Part(Part::Retain, View::Train),
    ];
    let positions: Vec<usize> = [&FORGET[..], &[50, 51, 52, 53, 54, 55, 56], &RETAIN].concat();
    let sampler = Sampler { name: "joined", pools, shuffled: true, ends_pass: true };
    // With batches of one sample some pools have none in a batch.
    for batch_size in [1, 5, 100] {
        let mut loader = loader(sampler.clone(), &dataset, batch_size);
        let mut seen = Vec::new();
        for step in 0..loader.batches() {
            let batch = loader.next_batch(&dataset, &World::solo(), 0, step).unwrap();
            let wanted: Vec<usize> = batch.global.iter().map(|&position| positions[position]).collect();
            assert_eq!(members(&batch), wanted, "batch size {batch_size}, step {step}");
            seen.extend(wanted);
        }
        assert_ne!(seen, positions);
        assert_eq!(sorted(seen), sorted(positions.clone()));
    }
}

#[test]
fn a_cycle_continues_across_epochs_and_reshuffles() {
    let dataset = numbered();
    let mut loader = loader(Sampler::cycle(Part::Retain, View::Eval), &dataset, 4);
    assert!(!loader.ends_pass());
    let mut batches = Vec::new();
    // Epochs of two steps end in the middle of the cycle's passes of three.
    for (epoch, step) in (0..6).flat_map(|epoch| [(epoch, 0), (epoch, 1)]) {
        let ahead: Vec<usize> = (0..3).map(|ahead| loader.size_at(epoch, step, ahead)).collect();
        let mut sizes = [4, 4, 3].into_iter().cycle().skip(batches.len() % 3);
        assert_eq!(ahead, sizes.by_ref().take(3).collect::<Vec<_>>());
        let batch = members(&loader.next_batch(&dataset, &World::solo(), epoch, step).unwrap());
        assert_eq!(batch.len(), ahead[0]);
        batches.push(batch);
    }
    assert_eq!(loader.drawn(), 12);
    let passes: Vec<Vec<usize>> = batches.chunks(3).map(<[_]>::concat).collect();
    assert!(passes.iter().all(|pass| sorted(pass.clone()) == RETAIN));
    assert_eq!(passes.iter().collect::<BTreeSet<_>>().len(), 4, "each pass has an order of its own");
}

#[test]
fn a_sampler_without_samples_is_refused() {
    let error = DataLoader::new(Sampler::train(Part::HeldOut), &numbered(), 4, 7, "base/train").err().unwrap();
    assert!(error.message().contains("heldout"), "{error}");
}

/// The draws belong to (seed, purpose/sampler/augment, pass, index in the data set): not to the position in part or
/// batch.
#[test]
fn a_loader_augments_by_pass_and_data_set_index() {
    let images = |pixels: Vec<u8>, n: usize| Images {
        pixels: pixels.into(),
        labels: vec![0; n],
        channels: CHANNELS,
        height: HEIGHT,
        width: WIDTH,
    };
    let test = images(image_of(&pixels(), 0).to_vec(), 1);
    let host = Dataset {
        name: "numbers".into(),
        train: images(pixels(), SAMPLES),
        test,
        num_classes: 10,
        fingerprints: Fingerprints::default(),
        class_names: Vec::new(),
        no_test: None,
    };
    let retain: Vec<usize> = (1..SAMPLES).step_by(2).collect();
    let parts = SplitIndices { retain: retain.clone(), ..SplitIndices::default() };
    let dataset = DeviceDataset::new(&host, parts, &config_data(&CROP_AND_FLIP), Kind::Float, Device::Cpu).unwrap();
    let (augment, stream) = (augment(&CROP_AND_FLIP), RandomStream::new(7, "base/train/retain/augment"));
    let mut cycle = loader(Sampler::cycle(Part::Retain, View::Train), &dataset, 20);
    for draw in 0..6 {
        let batch = cycle.next_batch(&dataset, &World::solo(), 0, draw).unwrap();
        let samples: Vec<usize> = batch.global.iter().map(|&position| retain[position]).collect();
        let number = draw as u64 / 3;
        assert_eq!(batch.images, train(&augment, &stream, number, &samples), "draw {draw}");
    }
    // With the evaluation transforms the images are the stored ones.
    let batch = loader(Sampler::cycle(Part::Retain, View::Eval), &dataset, 20)
        .next_batch(&dataset, &World::solo(), 0, 0)
        .unwrap();
    let samples = batch.global.iter().map(|&position| retain[position]);
    assert_eq!(
        bytes(&batch.images),
        samples.flat_map(|s| image_of(&host.train.pixels, s).to_vec()).collect::<Vec<_>>()
    );
}
