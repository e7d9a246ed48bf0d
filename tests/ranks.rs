//! The result does not depend on the number of ranks, and the ranks share the work evenly.
//!
//! All variants run in one launch per rank count, through the real training loop on real images in float64. The numbers
//! of one rank are the reference.

mod as_ranks;
mod mpirun;
mod training;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use as_ranks::{rank_folder, run_as_ranks};
use mpirun::said;
use regun::checkpoint::{self, Manifest};
use regun::config::{Config, Request, load};
use regun::data::{DeviceDataset, LoadOptions, load_dataset, split};
use regun::distributed::{World, launch, process};
use regun::error::Result;
use regun::models::swin::{Swin, SwinVariant};
use regun::models::{Architecture, Model, build};
use regun::train::{Observer, StepReport, TrainSettings, Trainer};
use serde_json::{Value, json};
use tch::{Device, Kind, Tensor};
use training::method;

/// Of 482 images, 391 train the base model. With batches of 97 the last batch has three samples, fewer than four ranks.
const SETUP: &str = "data=digits model=resnet20 data.debug_subset_size=482 data.batch_size=97 trainer.precision=64 \
    split.forget_frac=0.3 split.retain_frac=0.6 model.optim.lr=0.1";

/// Name and overrides of each variant. Variants without a method train the base model.
///
/// Training amplifies differences in the last bit, most with momentum at a high learning rate. The long run therefore
/// has no momentum.
const VARIANTS: &[(&str, &str)] = &[
    ("base, 100 steps", "trainer.max_epochs=20 model.optim.momentum=0 model.optim.nesterov=false"),
    ("base, nesterov", "trainer.max_epochs=3"),
    ("base in float32", "trainer.max_epochs=1 trainer.precision=32"),
    ("base, adamw", "trainer.max_epochs=2 model.optim.name=adamw model.optim.lr=0.01"),
    ("base, clipped", "trainer.max_epochs=2 trainer.gradient_clip_val=0.5"),
    (
        "base, every transform",
        "trainer.max_epochs=1 data.transforms.imagenet_resize.enabled=true data.transforms.imagenet_resize.train_size=12 \
         data.transforms.imagenet_resize.eval_resize=14 data.transforms.imagenet_resize.eval_crop=12 \
         data.transforms.horizontal_flip.enabled=true +data.transforms.randaugment.enabled=true \
         +data.transforms.randaugment.num_ops=2 +data.transforms.randaugment.magnitude=9 \
         +data.transforms.randaugment.num_magnitude_bins=31 +data.transforms.color_jitter.enabled=true \
         +data.transforms.color_jitter.brightness=0.4 +data.transforms.color_jitter.contrast=0.4 \
         +data.transforms.color_jitter.saturation=0.4 +data.transforms.color_jitter.hue=0.1 \
         +data.transforms.random_erasing.enabled=true +data.transforms.random_erasing.p=0.5 \
         +data.transforms.random_erasing.scale=[0.02,0.2] +data.transforms.random_erasing.ratio=[0.3,3.3] \
         +data.transforms.random_erasing.value=random",
    ),
    ("base, accumulating", "trainer.max_epochs=2 trainer.accumulate_grad_batches=2"),
    ("finetune", "unlearn=finetune unlearn.trainer.max_epochs=2"),
    ("neggrad", "unlearn=neggrad unlearn.trainer.max_epochs=2"),
    ("regun, uniform", "unlearn=regun unlearn.regun.selector=uniform unlearn.trainer.max_epochs=3"),
    ("regun, class informed", "unlearn=regun unlearn.regun.selector=class_informed unlearn.trainer.max_epochs=3"),
    ("regun, nearest", "unlearn=regun unlearn.regun.selector=feature_1nn unlearn.trainer.max_epochs=3"),
    ("regun, mean logits", "unlearn=regun unlearn.regun.aggregation=mean_logits unlearn.trainer.max_epochs=3"),
    ("regun, moving reference", "unlearn=regun unlearn.regun.fixed_reference=false unlearn.trainer.max_epochs=3"),
    ("neggradp", "unlearn=neggradp unlearn.trainer.max_epochs=2"),
    (
        "neggradp, sequential",
        "unlearn=neggradp unlearn.sequential=true unlearn.neggrad.epochs=1 unlearn.finetune.epochs=2",
    ),
    ("l1sparse", "unlearn=l1sparse unlearn.trainer.max_epochs=3"),
    ("l1sparse, accumulating", "unlearn=l1sparse unlearn.trainer.max_epochs=3 trainer.accumulate_grad_batches=2"),
    ("scrub", "unlearn=scrub unlearn.trainer.max_epochs=3"),
    ("scrub, changing teacher", "unlearn=scrub unlearn.trainer.max_epochs=3 compat.scrub_teacher_mode=true"),
    ("salun", "unlearn=salun unlearn.trainer.max_epochs=3 unlearn.optim.weight_decay=5e-4 data.eval_batch_size=32"),
    ("ssd", "unlearn=ssd unlearn.alpha=1.2 unlearn.fim_microbatch_size=16"),
    ("amun", "unlearn=amun unlearn.trainer.max_epochs=1 unlearn.attack.steps=5 unlearn.attack.max_rounds=3"),
    (
        "amun, weighted",
        "unlearn=amun unlearn.use_weighted_loss=true unlearn.trainer.max_epochs=1 unlearn.attack.steps=5 \
         unlearn.attack.max_rounds=3",
    ),
    ("lur", "unlearn=lur unlearn.pruning.enabled=false unlearn.trainer.max_epochs=2"),
    // The last step has three forget samples, so one of four ranks has an empty shard.
    ("lur, empty shard", "unlearn=lur unlearn.pruning.enabled=false unlearn.trainer.max_epochs=1 data.batch_size=57"),
    // A small Swin, which drops residual branches at random.
    ("swin", "data.debug_subset_size=150 trainer.max_epochs=2 model.optim.name=adamw model.optim.lr=0.001"),
    (
        "swin, regun, moving reference",
        "data.debug_subset_size=150 unlearn=regun unlearn.regun.fixed_reference=false unlearn.trainer.max_epochs=1",
    ),
    (
        "swin, lur",
        "data.debug_subset_size=150 unlearn=lur unlearn.pruning.auto=false unlearn.pruning.sparsity=0.9 unlearn.trainer.max_epochs=1",
    ),
    ("swin, ssd", "data.debug_subset_size=150 unlearn=ssd unlearn.alpha=1.2 unlearn.fim_microbatch_size=16"),
    ("lur, pruned", "unlearn=lur unlearn.pruning.auto=false unlearn.pruning.sparsity=0.9 unlearn.trainer.max_epochs=2"),
];

const SWIN: SwinVariant = SwinVariant { channels: 8, depths: [2, 1, 1, 1], heads: 2, drop: 0.5 };

fn configure(variant: &str) -> Config {
    let overrides: Vec<String> = SETUP.split_whitespace().chain(variant.split_whitespace()).map(String::from).collect();
    load(&Request { overrides: &overrides, ..Request::default() }).unwrap().config
}

/// After every step, the mean loss of the epoch so far over all ranks.
struct Losses<'a> {
    world: &'a World,
    losses: Vec<f64>,
}

impl Observer for Losses<'_> {
    fn step(&mut self, report: &StepReport<'_>) -> Result<()> {
        self.losses.push(report.meter.means(self.world)?.loss);
        Ok(())
    }
}

/// Trains one variant on the ranks of `world` and returns its losses. Rank 0 saves the weights in `folder`.
fn train(world: &World, name: &str, config: &Config, folder: &Path) -> Vec<f64> {
    let kind = if name.contains("float32") { Kind::Float } else { Kind::Double };
    let dataset = load_dataset(&config.data, LoadOptions { cache_dir: &config.paths.cache_dir, threads: 1 }).unwrap();
    let parts = split::split(&dataset.train.labels, &config.split).unwrap();
    let dataset = DeviceDataset::new(&dataset, parts, &config.data, kind, Device::Cpu).unwrap();
    let architecture: Arc<dyn Architecture> = match name.starts_with("swin") {
        true => Arc::new(Swin::new(SWIN, config.model.model.num_classes)),
        false => build(&config.model.model).unwrap().into(),
    };
    let mut model = Model::initialise(&architecture, 42, "base", kind, Device::Cpu).unwrap();
    let mut losses = Losses { world, losses: Vec::new() };
    let settings = TrainSettings { names: None, ..TrainSettings::new(config, world, "test", 42) };
    let mut trainer = Trainer { world, dataset: &dataset, model: &mut model, settings };
    trainer.run(&mut *method(config, Some(config.model.scheduler.clone())), &mut losses).unwrap();
    if world.is_root() {
        let tensors: Vec<(String, Tensor)> =
            model.state.named().map(|(name, tensor)| (name.to_owned(), tensor.shallow_clone())).collect();
        checkpoint::save(&folder.join(format!("{name}.safetensors")), &Manifest::default(), &tensors).unwrap();
    }
    losses.losses
}

#[test]
#[ignore = "one rank of another test"]
fn rank_training() {
    let folder = rank_folder();
    process::end_on_panic();
    let world = launch::start().unwrap();
    tch::set_num_threads(1);
    let mut losses = BTreeMap::new();
    for (name, variant) in VARIANTS {
        losses.insert(*name, train(&world, name, &configure(variant), &folder));
    }
    let work = world.all_gather(&json!(world.image_counts()).to_string()).unwrap();
    if world.is_root() {
        let work: Vec<Value> = work.iter().map(|text| serde_json::from_str(text).unwrap()).collect();
        let report = json!({ "ranks": world.size(), "losses": losses, "work": work });
        std::fs::write(folder.join("report.json"), report.to_string()).unwrap();
    }
    world.barrier().unwrap();
}

/// Runs all variants on `n` ranks. Returns the folder with their weights, and the report of rank 0.
fn run(n: usize) -> (tempfile::TempDir, Value) {
    let folder = tempfile::tempdir().unwrap();
    let output = run_as_ranks("rank_training", n, folder.path());
    assert!(output.status.success(), "{n} ranks: {}", said(&output));
    let report: Value =
        serde_json::from_str(&std::fs::read_to_string(folder.path().join("report.json")).unwrap()).unwrap();
    assert_eq!(report["ranks"], n);
    (folder, report)
}

fn numbers(value: &Value) -> Vec<f64> {
    value.as_array().unwrap().iter().map(|number| number.as_f64().unwrap()).collect()
}

#[test]
fn losses_and_weights_match_one_rank_and_the_work_is_shared() {
    let (one, wanted) = run(1);
    for n in 2..=4 {
        let (many, found) = run(n);
        for (name, _) in VARIANTS {
            let (losses, reference) = (numbers(&found["losses"][name]), numbers(&wanted["losses"][name]));
            assert_eq!(losses.len(), reference.len(), "{name}: steps");
            if name.contains("float32") {
                let (first, wanted) = (losses[0], reference[0]);
                assert!((first - wanted).abs() <= 1e-6 * wanted.abs(), "{name} on {n} ranks: {first}, wanted {wanted}");
                continue;
            }
            for (step, (loss, wanted)) in losses.iter().zip(&reference).enumerate() {
                let distance = (loss - wanted).abs() / wanted.abs();
                assert!(distance <= 1e-9, "{name} on {n} ranks, step {}: loss {loss}, wanted {wanted}", step + 1);
            }
            let file = format!("{name}.safetensors");
            let [ours, theirs] = [&many, &one].map(|folder| checkpoint::load(&folder.path().join(&file)).unwrap());
            assert_eq!(ours.tensors.len(), theirs.tensors.len(), "{name} on {n} ranks");
            for ((tensor_name, ours), (their_name, theirs)) in ours.tensors.iter().zip(&theirs.tensors) {
                assert_eq!(tensor_name, their_name, "{name} on {n} ranks");
                let (ours, theirs) = (ours.to_kind(Kind::Double), theirs.to_kind(Kind::Double));
                let distance = (&ours - &theirs).abs().max().double_value(&[]);
                assert!(distance <= 1e-7, "{name} on {n} ranks: {tensor_name} differs by {distance:e}");
            }
        }
        check_work(n, &found["work"], &wanted["work"][0]);
    }
}

/// The image counts of the ranks add up to the counts of a single rank. The shards are as even as batches allow.
fn check_work(n: usize, ranks: &Value, alone: &Value) {
    let ranks = ranks.as_array().unwrap();
    assert_eq!(ranks.len(), n);
    assert!(!alone.as_object().unwrap().is_empty());
    for (what, total) in alone.as_object().unwrap() {
        let counts: Vec<u64> = ranks.iter().map(|rank| rank[what].as_u64().unwrap_or(0)).collect();
        assert_eq!(counts.iter().sum::<u64>(), total.as_u64().unwrap(), "{what} on {n} ranks: {counts:?}");
        // Evaluation, Fisher sums and attacks assign whole batches. There may be fewer batches than ranks.
        if !["evaluate/", "/fisher/", "/attack/"].iter().any(|in_batches| what.contains(in_batches)) {
            let (least, most) = (counts.iter().min().unwrap(), counts.iter().max().unwrap());
            assert!(*most <= least + least / 5, "{what} on {n} ranks: {counts:?}");
        }
    }
}
