//! Transforms against torchvision's with the same parameters (tests/fixtures/transforms.json and .safetensors, made by
//! make_transforms.py beside them), and the distributions of their draws.

use std::collections::BTreeMap;

use regun::config::schema::TransformsConfig;
use regun::config::{Request, load};
use regun::data::augment::color_jitter::{self, ColorChange, Jitter};
use regun::data::augment::erasing::{self, Erasure, RandomErasing};
use regun::data::augment::randaugment::{self, Op, RandAugment};
use regun::data::augment::resize::{Cutout, Resize};
use regun::data::augment::tables::LookupTable;
use regun::data::augment::{Augment, AugmentPlan};
use regun::random::{RandomStream, SampleKeys};
use regun::torch::is_channels_last;
use serde_json::Value;
use tch::{Device, Kind, Tensor};

// ---- golden images ----

struct Golden {
    json: Value,
    tensors: Vec<u8>,
}

impl Golden {
    fn read() -> Self {
        let path = |name: &str| format!("{}/tests/fixtures/{name}", env!("CARGO_MANIFEST_DIR"));
        Golden {
            json: serde_json::from_str(&std::fs::read_to_string(path("transforms.json")).unwrap()).unwrap(),
            tensors: std::fs::read(path("transforms.safetensors")).unwrap(),
        }
    }

    fn list(&self, name: &str) -> &Vec<Value> {
        self.json[name].as_array().unwrap()
    }

    fn tensor(&self, name: &str) -> Tensor {
        let all = safetensors::SafeTensors::deserialize(&self.tensors).unwrap();
        let view = all.tensor(name).unwrap();
        let shape: Vec<i64> = view.shape().iter().map(|&side| side as i64).collect();
        let kind = if view.dtype() == safetensors::Dtype::U8 { Kind::Uint8 } else { Kind::Float };
        Tensor::from_data_size(view.data(), &shape, kind)
    }

    fn floats(&self, name: &str) -> Vec<f32> {
        self.tensor(name).try_into().unwrap()
    }

    /// The upper left corners of the images that the float transforms were applied to, in [0, 1].
    fn corners(&self) -> Tensor {
        self.tensor("images").narrow(2, 0, 9).narrow(3, 0, 11).to_kind(Kind::Float) * (1.0 / 255.0)
    }
}

fn integer(value: &Value) -> i64 {
    value.as_i64().unwrap()
}

/// The images that each entry names first.
fn picked(images: &Tensor, entries: &[Value]) -> Tensor {
    let rows: Vec<i64> = entries.iter().map(|entry| integer(&entry[0])).collect();
    images.index_select(0, &Tensor::from_slice(&rows))
}

/// The operation with this name in torchvision's table of magnitudes.
fn op(name: &str, magnitude: f64) -> Op {
    match name {
        "Identity" => Op::Identity,
        "ShearX" => Op::ShearX(magnitude),
        "ShearY" => Op::ShearY(magnitude),
        "TranslateX" => Op::TranslateX(magnitude as i64),
        "TranslateY" => Op::TranslateY(magnitude as i64),
        "Rotate" => Op::Rotate(magnitude),
        "Brightness" => Op::Table(LookupTable::Brightness(1.0 + magnitude)),
        "Color" => Op::Color(1.0 + magnitude),
        "Contrast" => Op::Table(LookupTable::Contrast(1.0 + magnitude)),
        "Sharpness" => Op::Sharpness(1.0 + magnitude),
        "Posterize" => Op::Table(LookupTable::Posterize(magnitude as u8)),
        "Solarize" => Op::Table(LookupTable::Solarize(255.0 * magnitude)),
        "AutoContrast" => Op::Table(LookupTable::AutoContrast),
        "Equalize" => Op::Table(LookupTable::Equalize),
        name => panic!("{name}"),
    }
}

fn pairs(value: &Value) -> impl Iterator<Item = (&str, f64)> {
    value.as_array().unwrap().iter().map(|pair| (pair[0].as_str().unwrap(), pair[1].as_f64().unwrap()))
}

/// The samples in which two tensors of one shape differ.
fn differing(got: &Tensor, wanted: &Tensor) -> Vec<usize> {
    assert_eq!((got.size(), got.kind()), (wanted.size(), wanted.kind()));
    (0..got.size()[0]).filter(|&row| got.get(row) != wanted.get(row)).map(|row| row as usize).collect()
}

#[test]
fn randaugment_operations_equal_torchvisions_to_the_last_bit() {
    let golden = Golden::read();
    let entries = golden.list("ops");
    let ops: Vec<Vec<Op>> =
        entries.iter().map(|entry| pairs(&entry[1]).map(|(name, magnitude)| op(name, magnitude)).collect()).collect();
    let images = picked(&golden.tensor("images"), entries);
    let before = images.copy();
    let got = randaugment::apply(images.shallow_clone(), &ops).unwrap();
    let wrong: Vec<_> =
        differing(&got, &golden.tensor("ops")).into_iter().map(|row| entries[row].to_string()).collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert_eq!(images, before, "the images given are not touched");
}

#[test]
fn randaugment_strengths_equal_torchvisions() {
    for entry in Golden::read().list("magnitudes") {
        let [height, width, magnitude, bins] = ["height", "width", "magnitude", "bins"].map(|key| integer(&entry[key]));
        let transforms = transforms(&[
            "randaugment.enabled=true",
            &format!("randaugment.magnitude={magnitude}"),
            &format!("randaugment.num_magnitude_bins={bins}"),
        ]);
        let randaugment = RandAugment::new(transforms.randaugment.as_ref(), (height, width)).unwrap().unwrap();
        let wanted = entry["values"].as_object().unwrap();
        assert_eq!(randaugment.choices().len(), wanted.len());
        for (choice, (name, strength)) in randaugment.choices().iter().zip(wanted) {
            let strength = strength.as_f64().unwrap();
            let unsigned = ["Identity", "Posterize", "Solarize", "AutoContrast", "Equalize"].contains(&name.as_str());
            let other = if unsigned { op(name, strength) } else { op(name, -strength) };
            assert_eq!(*choice, [op(name, strength), other], "{height}x{width}, {magnitude} of {bins}: {name}");
        }
    }
}

#[test]
fn color_jitter_equals_torchvisions() {
    let golden = Golden::read();
    let entries = golden.list("jitters");
    let change = |(name, factor): (&str, f64)| match name {
        "brightness" => ColorChange::Brightness(factor),
        "contrast" => ColorChange::Contrast(factor),
        "saturation" => ColorChange::Saturation(factor),
        _ => ColorChange::Hue(factor),
    };
    let jitters: Vec<Jitter> = entries.iter().map(|entry| pairs(&entry[1]).map(change).collect()).collect();
    for (path, apply) in COLOR_JITTER_PATHS {
        let mut images = picked(&golden.corners(), entries);
        apply(&mut images, &jitters).unwrap();
        let distance = (images - golden.tensor("jitters")).abs().amax([1, 2, 3].as_slice(), false);
        let distance: Vec<f32> = distance.try_into().unwrap();
        for (distance, entry) in distance.iter().zip(entries) {
            // Factors above 1 enlarge the rounding errors of earlier changes.
            let gain: f64 = pairs(&entry[1]).map(|(_, factor)| factor.max(1.0)).product();
            assert!(f64::from(*distance) <= 1e-6 * gain, "{path}, {distance:e}: {entry}");
        }
    }
}

type ApplyJitters = fn(&mut Tensor, &[Jitter]) -> regun::error::Result<()>;
const COLOR_JITTER_PATHS: [(&str, ApplyJitters); 2] =
    [("host", color_jitter::host::apply), ("tensor", color_jitter::tensor::apply)];

/// Random pixels, greys, primaries and black, with jitters drawn by configurations: enough for several threads, with
/// both float types and any memory layout.
#[test]
fn color_jitter_is_the_same_on_host_and_device() {
    let transforms = transforms(&["color_jitter.hue=0.5"]);
    let jitter = color_jitter::ColorJitter::new(transforms.color_jitter.as_ref()).unwrap();
    let stream = RandomStream::new(5, "jitters");
    let jitters: Vec<Jitter> = (0..48).map(|sample| jitter.draw(&mut stream.at(0, sample))).collect();
    let pixels: Vec<u8> = (0..48 * 3 * 33 * 31).map(|i| stream.at(1, i).below(256) as u8).collect();
    let pixels = Tensor::from_slice(&pixels).view([48, 3, 33, 31]);
    pixels.narrow(2, 0, 2).copy_(&pixels.narrow(2, 0, 2).narrow(1, 0, 1).copy());
    let _ = pixels.narrow(2, 2, 4).bitwise_and_tensor_(&Tensor::from(128u8));
    // Of float64 too, the tensors' mean grey has 32 fraction bits.
    for (kind, tolerance) in [(Kind::Float, 1e-6), (Kind::Double, 1e-10)] {
        let images = pixels.to_kind(kind) * (1.0 / 255.0);
        let mut host = images.copy();
        color_jitter::apply(&mut host, &jitters).unwrap();
        let mut tensor = images.copy();
        color_jitter::tensor::apply(&mut tensor, &jitters).unwrap();
        let distance = (&host - tensor).abs().max().double_value(&[]);
        assert!(distance <= tolerance, "{kind:?}: {distance:e}");
        let mut channels_last = regun::torch::to_channels_last(&images).unwrap();
        color_jitter::apply(&mut channels_last, &jitters).unwrap();
        assert_eq!(channels_last, host);
        for (sample, jitter) in jitters.iter().enumerate() {
            let mut alone = images.narrow(0, sample as i64, 1).copy();
            color_jitter::apply(&mut alone, std::slice::from_ref(jitter)).unwrap();
            assert_eq!(alone, host.narrow(0, sample as i64, 1), "{kind:?}: sample {sample}");
        }
    }
}

#[test]
fn erasing_equals_torchvisions() {
    let golden = Golden::read();
    let mut noise = golden.floats("noise").into_iter();
    let (mut random, mut constant) = (vec![None], vec![None]);
    for entry in golden.list("erasures") {
        let [top, left, height, width] = [1, 2, 3, 4].map(|i| integer(&entry[i]));
        let values = noise.by_ref().take((3 * height * width) as usize).collect();
        random.push(Some(Erasure { top, left, height, width, values }));
        constant.push(Some(Erasure { top, left, height, width, values: vec![0.25] }));
    }
    // The first image keeps all its pixels, the others lose some.
    let corners = golden.corners();
    let images = || Tensor::cat(&[corners.narrow(0, 5, 1), corners.narrow(0, 0, 5)], 0);
    for (erasures, name) in [(random, "erasures"), (constant, "erasures_constant")] {
        let mut got = images();
        erasing::apply(&mut got, &erasures).unwrap();
        assert_eq!(got.narrow(0, 0, 1), corners.narrow(0, 5, 1));
        assert_eq!(got.narrow(0, 1, 5), golden.tensor(name), "{name}");
    }
}

/// Fraction of values that differ. Checks that none differs by more than one level.
fn rounding_share(got: &Tensor, wanted: &Tensor) -> f64 {
    assert_eq!((got.size(), got.kind()), (wanted.size(), wanted.kind()));
    let distance = (got.to_kind(Kind::Int) - wanted.to_kind(Kind::Int)).abs();
    assert!(distance.max().int64_value(&[]) <= 1);
    distance.to_kind(Kind::Double).mean(None).double_value(&[])
}

#[test]
fn resized_crops_equal_torchvisions() {
    let golden = Golden::read();
    for (size, boxes) in golden.json["boxes"].as_object().unwrap() {
        let boxes = boxes.as_array().unwrap();
        let cutout = |entry: &Value| {
            let [top, left, height, width] = [1, 2, 3, 4].map(|i| integer(&entry[i]));
            Cutout { top, left, height, width, flip: entry[5].as_bool().unwrap() }
        };
        let cutouts: Vec<Cutout> = boxes.iter().map(cutout).collect();
        let resize = Resize::new(&resizing(&size.parse().unwrap(), &8, &8), (23, 31));
        let got = resize.train(&picked(&golden.tensor("large"), boxes), &cutouts).unwrap();
        let share = rounding_share(&got, &golden.tensor(&format!("boxes/{size}")));
        assert!(share <= 1e-3, "{size}: {share}");
    }
}

#[test]
fn evaluation_uses_the_same_resized_middle_as_torchvision() {
    let golden = Golden::read();
    for (k, entry) in golden.list("evals").iter().enumerate() {
        let [height, width, short, crop] = [0, 1, 2, 3].map(|i| integer(&entry[i]));
        let resize = Resize::new(&resizing(&8, &short, &crop), (height, width));
        let got = resize.eval(&golden.tensor(&format!("eval/{k}/images"))).unwrap();
        let share = rounding_share(&got, &golden.tensor(&format!("eval/{k}")));
        assert!(share <= 1e-3, "{entry}: {share}");
    }
}

// ---- the whole pipeline ----

/// The transforms of Tiny ImageNet, changed by `overrides` of `data.transforms`.
fn transforms(overrides: &[&str]) -> TransformsConfig {
    let overrides: Vec<String> = overrides
        .iter()
        .map(|override_| format!("data.transforms.{override_}"))
        .chain(["data=tiny_imagenet".into()])
        .collect();
    load(&Request { overrides: &overrides, ..Request::default() }).unwrap().config.data.transforms
}

fn resizing(train_size: &i64, eval_resize: &i64, eval_crop: &i64) -> TransformsConfig {
    transforms(&[
        "imagenet_resize.enabled=true",
        &format!("imagenet_resize.train_size={train_size}"),
        &format!("imagenet_resize.eval_resize={eval_resize}"),
        &format!("imagenet_resize.eval_crop={eval_crop}"),
    ])
}

const EVERYTHING: [&str; 5] = [
    "randaugment.enabled=true",
    "random_erasing.enabled=true",
    "random_erasing.p=0.5",
    "random_crop.size=17",
    "imagenet_resize.train_size=24",
];
const SAMPLES: usize = 60;

/// Sixty images of 17 x 20, sample i being image i % 6.
fn samples(which: &[usize]) -> Tensor {
    let rows: Vec<i64> = which.iter().map(|&sample| (sample % 6) as i64).collect();
    Golden::read().tensor("images").index_select(0, &Tensor::from_slice(&rows))
}

/// All transforms are on: the pixels of a sample are the same to the last bit in any batch.
#[test]
fn a_sample_is_the_same_in_any_batch() {
    for resized in [false, true] {
        let enabled = format!("imagenet_resize.enabled={resized}");
        let overrides: Vec<&str> = EVERYTHING.iter().copied().chain([enabled.as_str()]).collect();
        let augment = Augment::new(&transforms(&overrides), (17, 20), Kind::Float, Device::Cpu).unwrap();
        let stream = RandomStream::new(7, "base/augment");
        let train = |which: &[usize]| {
            augment.train(&samples(which), &SampleKeys { stream: &stream, epoch: 3, samples: which }).unwrap()
        };
        let all: Vec<usize> = (0..SAMPLES).collect();
        let together = train(&all);
        assert!(is_channels_last(&together));
        assert_eq!(together.isfinite().all(), Tensor::from(true));
        let backwards: Vec<usize> = all.iter().rev().copied().collect();
        assert_eq!(train(&backwards), together.flip([0]));
        for size in [1, 7, 32] {
            for chunk in all.chunks(size) {
                let rows = together.narrow(0, chunk[0] as i64, chunk.len() as i64);
                assert_eq!(train(chunk), rows, "batches of {size}, resized: {resized}");
            }
        }
        let shape = together.size();
        assert_eq!(train(&[]).size(), [0, shape[1], shape[2], shape[3]]);
        assert_ne!(together.get(0), together.get(6), "the same image, another sample");
    }
}

/// Switching a transform on or off does not change the draws of the others.
#[test]
fn transforms_do_not_shift_the_draws_of_others() {
    let plan = |overrides: &[&str]| -> AugmentPlan {
        let augment = Augment::new(&transforms(overrides), (64, 64), Kind::Float, Device::Cpu).unwrap();
        let samples: Vec<usize> = (0..SAMPLES).collect();
        augment.plan(&SampleKeys { stream: &RandomStream::new(7, "base/augment"), epoch: 3, samples: &samples })
    };
    let all = plan(&["randaugment.enabled=true", "random_erasing.enabled=true"]);
    let (plain, erased) = ("color_jitter.enabled=false", "random_erasing.enabled=true");
    assert_eq!(plan(&[plain]), AugmentPlan { windows: all.windows.clone(), ..AugmentPlan::default() });
    assert_eq!(plan(&[]).jitters, all.jitters);
    assert_eq!(plan(&[plain, "randaugment.enabled=true"]).ops, all.ops);
    assert_eq!(plan(&[plain, erased]).erasures, all.erasures);
    let resized = plan(&["imagenet_resize.enabled=true", erased, "randaugment.enabled=true"]);
    assert_eq!((resized.windows.len(), resized.cutouts.len()), (0, SAMPLES));
    assert_eq!(resized.jitters, all.jitters);
}

#[test]
fn transforms_run_in_the_order_of_torchvision() {
    let golden = Golden::read();
    let images = golden.tensor("images");
    let overrides = ["randaugment.enabled=true", "random_erasing.enabled=true", "random_crop.size=17"];
    let transforms = transforms(&overrides);
    let augment = Augment::new(&transforms, (17, 20), Kind::Float, Device::Cpu).unwrap();
    let stream = RandomStream::new(7, "base/augment");
    let plan = augment.plan(&SampleKeys { stream: &stream, epoch: 0, samples: &[0, 1, 2, 3, 4, 5] });
    let got = augment.apply(&images, &plan).unwrap();

    let only_crop = AugmentPlan { windows: plan.windows.clone(), ..AugmentPlan::default() };
    let normalised = augment.apply(&images, &only_crop).unwrap();
    let column = |values: &[f64]| Tensor::from_slice(values).to_kind(Kind::Float).view([1, 3, 1, 1]);
    let (mean, std) = (column(&transforms.normalize.mean), column(&transforms.normalize.std));
    let pixels = ((normalised * &std + &mean) * 255.0).round().to_kind(Kind::Uint8);
    let mut floats = randaugment::apply(pixels, &plan.ops).unwrap().to_kind(Kind::Float) * (1.0 / 255.0);
    color_jitter::apply(&mut floats, &plan.jitters).unwrap();
    erasing::apply(&mut floats, &plan.erasures).unwrap();
    assert_eq!(got, (floats - mean) / std);
}

#[test]
fn imagenet_statistics_come_with_imagenet_resize() {
    let augment = Augment::new(&resizing(&12, &10, &8), (17, 20), Kind::Float, Device::Cpu).unwrap();
    let black = augment.eval(&Tensor::zeros([2, 3, 17, 20], (Kind::Uint8, Device::Cpu))).unwrap();
    assert_eq!(black.size(), [2, 3, 8, 8]);
    let got: Vec<f64> = black.to_kind(Kind::Double).mean_dim([0, 2, 3].as_slice(), false, None).try_into().unwrap();
    for (got, wanted) in got.iter().zip([0.485 / 0.229, 0.456 / 0.224, 0.406 / 0.225]) {
        assert!((got + wanted).abs() < 1e-5, "{got} {wanted}");
    }
    assert_eq!(augment.bounds().0.expand_as(&black), black);
}

// ---- distributions of the draws ----

const DRAWS: u64 = 20_000;

/// The results of `draw` for many samples.
fn drawn<T>(draw: impl Fn(&mut regun::random::Draws) -> T) -> Vec<T> {
    let stream = RandomStream::new(11, "laws");
    (0..DRAWS).map(|sample| draw(&mut stream.at(0, sample))).collect()
}

/// Uniform on [low, high]: inside it, with its mean and variance (five standard errors).
fn assert_uniform(values: &[f64], low: f64, high: f64, what: &str) {
    let n = values.len() as f64;
    assert!(values.iter().all(|value| (low..=high).contains(value)), "{what}: outside {low}..{high}");
    let unit: Vec<f64> = values.iter().map(|value| (value - low) / (high - low)).collect();
    let moment = |k: i32| unit.iter().map(|value| value.powi(k)).sum::<f64>() / n;
    assert!((moment(1) - 0.5).abs() < 5.0 * (1.0 / 12.0 / n).sqrt(), "{what}: mean {}", moment(1));
    assert!((moment(2) - 1.0 / 3.0).abs() < 5.0 * (4.0 / 45.0 / n).sqrt(), "{what}: second moment {}", moment(2));
}

/// Equal shares (chi-squared far beyond one in 10,000).
fn assert_equal_shares<K: Ord + std::fmt::Debug>(values: impl Iterator<Item = K>, kinds: usize) {
    let mut counts = BTreeMap::new();
    for value in values {
        *counts.entry(value).or_insert(0u32) += 1;
    }
    assert_eq!(counts.len(), kinds, "{counts:?}");
    let expected = f64::from(counts.values().sum::<u32>()) / kinds as f64;
    let chi2: f64 = counts.values().map(|&n| (f64::from(n) - expected).powi(2) / expected).sum();
    let freedom = (kinds - 1) as f64;
    assert!(chi2 < freedom + 5.0 * (2.0 * freedom).sqrt(), "{counts:?}");
}

#[test]
fn randaugment_draws_every_change_equally_often() {
    let transforms = transforms(&["randaugment.enabled=true"]);
    let randaugment = RandAugment::new(transforms.randaugment.as_ref(), (64, 64)).unwrap().unwrap();
    let lists = drawn(|draws| randaugment.draw(draws));
    assert!(lists.iter().all(|list| list.len() == 2));
    let choices = randaugment.choices();
    let kind = |op: &Op| choices.iter().position(|signs| signs.contains(op)).unwrap();
    assert_equal_shares(lists.iter().map(|list| (kind(&list[0]), kind(&list[1]))), 14 * 14);
    let rotations =
        lists.iter().flatten().filter_map(|op| if let Op::Rotate(by) = op { Some(*by > 0.0) } else { None });
    assert_equal_shares(rotations, 2);
}

#[test]
fn color_jitter_factors_are_uniform_and_their_order_is_free() {
    let transforms = transforms(&["color_jitter.saturation=1.5", "color_jitter.hue=0.25"]);
    let jitter = color_jitter::ColorJitter::new(transforms.color_jitter.as_ref()).unwrap();
    let jitters = drawn(|draws| jitter.draw(draws));
    let mut factors: [Vec<f64>; 4] = Default::default();
    for change in jitters.iter().flatten() {
        let (kind, factor) = match *change {
            ColorChange::Brightness(factor) => (0, factor),
            ColorChange::Contrast(factor) => (1, factor),
            ColorChange::Saturation(factor) => (2, factor),
            ColorChange::Hue(turns) => (3, turns),
        };
        factors[kind].push(factor);
    }
    let ranges = [(0.9, 1.1), (0.9, 1.1), (0.0, 2.5), (-0.25, 0.25)];
    for (values, (low, high)) in factors.iter().zip(ranges) {
        assert_eq!(values.len(), DRAWS as usize);
        assert_uniform(values, low, high, "factor");
    }
    let kinds = |jitter: &Jitter| jitter.iter().map(std::mem::discriminant).map(|kind| format!("{kind:?}")).collect();
    assert_equal_shares(jitters.iter().map(|jitter| -> Vec<String> { kinds(jitter) }), 24);
}

#[test]
fn a_change_of_strength_zero_is_left_out() {
    let transforms = transforms(&["color_jitter.brightness=0", "color_jitter.hue=0"]);
    let jitter = color_jitter::ColorJitter::new(transforms.color_jitter.as_ref()).unwrap();
    for jitter in drawn(|draws| jitter.draw(draws)) {
        assert_eq!(jitter.len(), 2);
        assert!(jitter.iter().all(|change| matches!(change, ColorChange::Contrast(_) | ColorChange::Saturation(_))));
    }
}

#[test]
fn resized_boxes_have_uniform_area_and_log_uniform_ratio() {
    // The image is so large that rounding to pixels does not matter, and so flat that every box fits.
    let side = 1 << 20;
    let resize = Resize::new(&resizing(&24, &8, &8), (side, side));
    let boxes = drawn(|draws| resize.draw(draws));
    let small: Vec<&Cutout> =
        boxes.iter().filter(|b| (b.height * b.width) as f64 <= 0.75 * (side * side) as f64).collect();
    let area = |b: &Cutout| (b.height as f64 * b.width as f64) / (side as f64).powi(2);
    // Up to 3/4 of the area every ratio fits, so no box is drawn again for its shape.
    assert_uniform(&small.iter().map(|b| area(b)).collect::<Vec<_>>(), 0.5999, 0.7501, "area");
    let log_ratio = |b: &&Cutout| (b.width as f64 / b.height as f64).ln();
    let limit = (4.0f64 / 3.0).ln() + 1e-5;
    assert_uniform(&small.iter().map(log_ratio).collect::<Vec<_>>(), -limit, limit, "log ratio");
    let offset = |start: i64, length: i64| (start as f64 + 0.5) / ((side - length) as f64 + 1.0);
    assert_uniform(&boxes.iter().map(|b| offset(b.top, b.height)).collect::<Vec<_>>(), 0.0, 1.0, "top");
    assert_uniform(&boxes.iter().map(|b| offset(b.left, b.width)).collect::<Vec<_>>(), 0.0, 1.0, "left");
    assert_equal_shares(boxes.iter().map(|b| b.flip), 2);
}

/// No box of 60 % of a strip has an allowed ratio: all ten tries fail, and the middle is taken.
#[test]
fn a_strip_is_cut_to_its_middle() {
    for ((height, width), wanted) in [((10, 100), (0, 43, 10, 13)), ((100, 10), (43, 0, 13, 10))] {
        let resize = Resize::new(&resizing(&24, &8, &8), (height, width));
        for cutout in drawn(|draws| resize.draw(draws)) {
            assert_eq!((cutout.top, cutout.left, cutout.height, cutout.width), wanted);
        }
    }
}

#[test]
fn erased_rectangles_have_the_configured_distribution() {
    let transforms = transforms(&["random_erasing.enabled=true", "random_erasing.value=0"]);
    let side = 1 << 12;
    let erasing = RandomErasing::new(transforms.random_erasing.as_ref(), [3, side, side]).unwrap();
    let drawn_erasures = drawn(|draws| erasing.draw(draws));
    let erased: Vec<&Erasure> = drawn_erasures.iter().flatten().collect();
    let (n, p) = (DRAWS as f64, 0.25);
    assert!((erased.len() as f64 - n * p).abs() < 5.0 * (n * p * (1.0 - p)).sqrt(), "{}", erased.len());
    let area = |e: &&Erasure| (e.height * e.width) as f64 / (side * side) as f64;
    assert_uniform(&erased.iter().map(area).collect::<Vec<_>>(), 0.0199, 0.2001, "area");
    let log_ratio = |e: &&Erasure| (e.height as f64 / e.width as f64).ln();
    assert_uniform(
        &erased.iter().map(log_ratio).collect::<Vec<_>>(),
        0.3f64.ln() - 1e-2,
        3.3f64.ln() + 1e-2,
        "log ratio",
    );
    assert!(erased.iter().all(|e| e.values == [0.0] && e.top + e.height <= side && e.left + e.width <= side));
}

#[test]
fn erased_noise_is_standard_normal() {
    let transforms = transforms(&["random_erasing.enabled=true", "random_erasing.p=1"]);
    let erasing = RandomErasing::new(transforms.random_erasing.as_ref(), [3, 32, 32]).unwrap();
    let stream = RandomStream::new(11, "noise");
    let erasures: Vec<Erasure> = (0..500).map(|sample| erasing.draw(&mut stream.at(0, sample)).unwrap()).collect();
    assert!(erasures.iter().all(|e| e.values.len() as i64 == 3 * e.height * e.width));
    let values: Vec<f64> = erasures.iter().flat_map(|e| &e.values).map(|&value| f64::from(value)).collect();
    let n = values.len() as f64;
    let moment = |k: i32| values.iter().map(|value| value.powi(k)).sum::<f64>() / n;
    assert!(moment(1).abs() < 5.0 / n.sqrt() && (moment(2) - 1.0).abs() < 5.0 * (2.0 / n).sqrt());
}
