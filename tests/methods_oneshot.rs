//! SSD, AMUN and LUR: the golden numbers of `fixtures/methods.json`, and properties that must hold on any data.

mod formula;
mod formula_network;
mod golden_steps;

use std::path::Path;
use std::sync::Arc;

use formula_network::formula_images;
use golden_steps::{FORGET, Golden, architecture, check, dataset, fixtures, formula_model, indices, labels, phase};
use regun::config::schema::{BatchLimit, CompatConfig, CudaGraphMode};
use regun::config::{Config, Request, load};
use regun::data::device_images::DeviceImages;
use regun::data::split::SplitIndices;
use regun::data::{DataLoader, DeviceDataset, LoadOptions, Part, Sampler, View, load_dataset, split};
use regun::distributed::World;
use regun::models::init::Init;
use regun::models::swin::{Swin, SwinVariant};
use regun::models::vit::{ViT, ViTVariant};
use regun::models::{Architecture, Forward, Model, Slot, State, StateLayout, build, layout};
use regun::names::Names;
use regun::train::loss::cross_entropy_sum;
use regun::train::{AllReduceSettings, TrainContext, TrainSettings, Trainer};
use regun::unlearn::amun::{AdversarialSet, Amun, AmunSettings, PgdAttack};
use regun::unlearn::fisher::{layers, squared_gradients, vmap};
use regun::unlearn::lur::snip::{self, PruningSettings};
use regun::unlearn::lur::{Lur, LurSettings};
use regun::unlearn::ssd::{Ssd, SsdSettings};
use serde_json::{Value, json};
use tch::{Device, Kind, Tensor, no_grad};

const COMPAT: CompatConfig = CompatConfig { scrub_teacher_mode: false };

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or_else(|| panic!("no number: {value}"))
}

fn floats(values: &Value) -> Vec<f64> {
    values.as_array().unwrap().iter().map(number).collect()
}

fn classes(values: &Value) -> Vec<i64> {
    indices(values).into_iter().map(|class| class as i64).collect()
}

#[track_caller]
fn close(what: &str, got: f64, wanted: &Value, tolerance: f64) {
    let wanted = number(wanted);
    let distance = (got - wanted).abs() / wanted.abs().max(1e-6);
    assert!(distance <= tolerance, "{what} is {got}, wanted {wanted}");
}

fn norm(tensor: &Tensor) -> f64 {
    tensor.norm().double_value(&[])
}

fn sum(tensor: &Tensor) -> f64 {
    tensor.sum(Kind::Double).double_value(&[])
}

/// The training settings of a golden run, with batches of `batch_size`.
fn settings(batch_size: usize) -> TrainSettings {
    TrainSettings {
        batch_size,
        accumulate: 1,
        limit: BatchLimit::ALL,
        overfits: false,
        clip: None,
        freeze_backbone: false,
        sync_batchnorm: true,
        mixed: None,
        cuda_graph: CudaGraphMode::Off,
        all_reduce: AllReduceSettings { bucket_sizes: (1 << 20).into(), compression: None },
        compat: COMPAT,
        names: None,
        seed: 42,
        purpose: "unlearn/test".into(),
    }
}

// ---- SSD ----

#[test]
fn squared_gradients_equal_those_of_one_sample_at_a_time() {
    let resnet20 = |name: &str| {
        let config = load(&Request { overrides: &[format!("model={name}")], ..Request::default() }).unwrap().config;
        build(&config.model.model).unwrap().into()
    };
    for (architecture, side) in [(resnet20("resnet20"), 16), (architecture(), 8)] {
        let model = Model::initialise(&architecture, 3, "test", Kind::Double, Device::Cpu).unwrap();
        let images = formula_images(&[5, 3, side, side], 7, 1.5, Kind::Double);
        let labels = Tensor::from_slice(&[3i64, 1, 4, 1, 5]);
        let by_layers =
            layers::squared_gradients(&model, &images, &labels).unwrap().expect("layer hooks see all layers");
        let by_vmap = vmap::squared_gradients(&model, &images, &labels).unwrap();

        let model = model.frozen_copy().unwrap();
        let weights: Vec<Tensor> =
            model.state.parameters().map(|(.., weight)| weight.set_requires_grad(true)).collect();
        let mut wanted: Vec<Tensor> = weights.iter().map(|weight| weight.detach().zeros_like()).collect();
        for i in 0..5 {
            let logits = model.eval(&images.narrow(0, i, 1)).unwrap();
            let loss = cross_entropy_sum(&logits, &labels.narrow(0, i, 1), 0.0);
            let gradients = Tensor::run_backward(&[loss], &weights, false, false);
            wanted.iter_mut().zip(gradients).for_each(|(sum, gradient)| *sum += gradient.square());
        }
        for (way, ours) in [("layers", by_layers), ("vmap", by_vmap)] {
            for ((_, entry, _), (ours, wanted)) in model.state.parameters().zip(ours.iter().zip(&wanted)) {
                let distance = norm(&(ours - wanted)) / norm(wanted);
                assert!(distance < 1e-10, "{way}: {}: {distance}", entry.name);
            }
        }
    }
}

/// An architecture with one matrix that it uses twice, outside the known layers. No layer hook sees the matrix.
#[derive(Debug)]
struct Tied {
    layout: Arc<StateLayout>,
    matrix: Slot,
}

impl Architecture for Tied {
    fn layout(&self) -> &Arc<StateLayout> {
        &self.layout
    }

    fn head(&self) -> &[Slot] {
        std::slice::from_ref(&self.matrix)
    }

    fn logits(&self, ctx: &mut Forward<'_>, images: &Tensor) -> regun::error::Result<Tensor> {
        let matrix = ctx.weight(self.matrix);
        Ok(images.f_flatten(1, -1)?.f_matmul(matrix)?.f_tanh()?.f_matmul(matrix)?)
    }
}

#[test]
fn squared_gradients_are_right_for_an_architecture_of_unknown_layers() {
    let mut builder = layout::LayoutBuilder::new();
    let matrix = builder.parameter("matrix", &[3, 3], Init::linear(3));
    let architecture: Arc<dyn Architecture> = Arc::new(Tied { layout: Arc::new(builder.finish()), matrix });
    let model = Model::initialise(&architecture, 3, "test", Kind::Double, Device::Cpu).unwrap();
    let images = formula_images(&[4, 3, 1, 1], 7, 1.5, Kind::Double);
    let labels = Tensor::from_slice(&[2i64, 0, 1, 1]);
    let ours = squared_gradients(&model, &images, &labels).unwrap().remove(0);

    let weight = model.state.tensors()[0].shallow_clone().set_requires_grad(true);
    let wanted = (0..4).fold(weight.detach().zeros_like(), |sum, i| {
        let logits = model.eval(&images.narrow(0, i, 1)).unwrap();
        let loss = cross_entropy_sum(&logits, &labels.narrow(0, i, 1), 0.0);
        sum + Tensor::run_backward(&[loss], &[&weight], false, false)[0].square()
    });
    assert!(norm(&(&ours - &wanted)) < 1e-12 * norm(&wanted), "{ours} instead of {wanted}");
}

#[test]
fn ssd_dampens_the_listed_weights() {
    let fixtures = fixtures();
    let dataset = dataset(&fixtures, &[]);
    let golden = &fixtures["ssd"];
    for run in golden["dampening"].as_array().unwrap() {
        let (alpha, lambda) = (number(&run["alpha"]), number(&run["lambda"]));
        let mut model = formula_model();
        let mut method = Ssd::new(SsdSettings { alpha, lambda, fim_microbatch_size: 4 });
        let (world, settings) = (World::solo(), settings(6));
        Trainer { world: &world, dataset: &dataset, model: &mut model, settings }.run(&mut method, &mut ()).unwrap();

        let dampening = method.dampening().unwrap();
        let names = || model.state.parameters().map(|(_, entry, _)| entry.name.as_str());
        let what = |name: &str| format!("alpha {alpha} lambda {lambda}: {name}");
        for (name, (full, forget)) in names().zip(&dampening.fisher) {
            close(name, sum(full), &golden["fisher_full_sum"][name], 1e-8);
            close(name, sum(forget), &golden["fisher_forget_sum"][name], 1e-8);
            for (key, tensor) in [("fisher_full_max", full), ("fisher_forget_max", forget)] {
                if let Some(wanted) = golden[key].get(name) {
                    close(name, tensor.max().double_value(&[]), wanted, 1e-8);
                }
            }
        }
        for (name, dampened) in names().zip(&dampening.dampened) {
            let wanted = run["dampened_by_parameter"][name].as_i64().unwrap();
            assert!((dampened - wanted).abs() <= 2, "{}: {dampened}, wanted {wanted}", what(name));
        }
        let total = run["dampened_total"].as_i64().unwrap();
        assert!((dampening.dampened.iter().sum::<i64>() - total).abs() <= 2);
        for (_, entry, weight) in model.state.parameters() {
            // A million terms of both signs cancel here, so the tolerance is relative to the sum of their magnitudes.
            let wanted = number(&run["parameter_sums_after"][&entry.name]);
            assert!((sum(weight) - wanted).abs() <= 1e-8 * sum(&weight.abs()), "{}", what(&entry.name));
        }
        check_norms(&model, &run["param_norms_after"], 1e-8);
        check_norms(&model, &run["bn_after"], 1e-8);
    }
}

/// Compares the L2 norms of tensors of the state, the L2 norm of all parameters together (`total`), and the number of
/// forward passes in training mode (`num_batches_tracked`).
#[track_caller]
fn check_norms(model: &Model, wanted: &Value, tolerance: f64) {
    for (name, value) in wanted.as_object().unwrap() {
        let got = match name.as_str() {
            "total" => model.state.parameters().map(|(.., tensor)| norm(tensor).powi(2)).sum::<f64>().sqrt(),
            "num_batches_tracked" => sum(model.state.by_name("bn1.num_batches_tracked").unwrap()),
            name => norm(model.state.by_name(name).unwrap()),
        };
        close(name, got, value, tolerance);
    }
}

// ---- AMUN ----

fn attack_of(golden: &Value) -> PgdAttack {
    PgdAttack {
        epsilon_init: number(&golden["epsilon_init"]),
        steps: golden["steps"].as_u64().unwrap() as usize,
        step_factor: number(&golden["step_factor"]),
        max_rounds: golden["max_rounds"].as_u64().unwrap() as usize,
    }
}

#[test]
fn attacks_find_the_listed_images() {
    let fixtures = fixtures();
    let model = formula_model();
    let logits = model.fused_with_gradient().unwrap();
    let labels = classes(&fixtures["amun"]["forget_labels_for_the_attack"]);
    for (number_of_case, golden) in fixtures["amun"]["attacks"].as_array().unwrap().iter().enumerate() {
        let bound = |key: &str| Tensor::from_slice(&floats(&golden[key])).view([1, 3, 1, 1]);
        let bounds = (bound("clamp_min"), bound("clamp_max"));
        let clean = match number_of_case {
            3 => {
                formula_images(&[6, 3, 16, 16], 1001, 2.5, Kind::Double).clamp_tensor(Some(&bounds.0), Some(&bounds.1))
            }
            _ => formula_images(&[6, 3, 16, 16], 1001, 1.5, Kind::Double),
        };
        let attack = attack_of(golden);
        let own = Tensor::from_slice(&labels);
        let (images, seen) = no_grad(|| attack.run(&logits, &clean, &own, Some(&bounds))).unwrap();

        let case = golden["case"].as_str().unwrap();
        let returned = Vec::<i64>::try_from(seen).unwrap();
        assert_eq!(returned, classes(&golden["returned_labels"]), "{case}");
        let inside = images.ge_tensor(&bounds.0).logical_and(&images.le_tensor(&bounds.1));
        assert_eq!(inside.all().int64_value(&[]), 1, "{case}: pixels out of bounds");
        let seen = no_grad(|| model.eval(&images)).unwrap();
        for i in 0..FORGET {
            let (image, clean) = (images.get(i as i64), clean.get(i as i64));
            let distance = norm(&(&image - clean));
            let what = format!("{case}, image {i}");
            close(&what, distance, &golden["l2_distance_from_original"][i], 1e-6);
            close(&what, norm(&image), &golden["adversarial_image_norm"][i], 1e-6);
            close(&what, sum(&image), &golden["adversarial_image_sum"][i], 1e-6);
            let (top, _) = seen.get(i as i64).topk(2, 0, true, true);
            let margin = top.double_value(&[0]) - top.double_value(&[1]);
            close(&what, margin, &golden["top1_top2_logit_margin_on_returned_image"][i], 1e-5);
            match golden["round_of_success"][i].as_u64() {
                Some(round) => {
                    let radius = attack.epsilon_init * 2f64.powi(round as i32 - 1);
                    assert!(distance <= radius * (1.0 + 1e-12), "{what}: {distance} beyond {radius}");
                    assert_eq!(seen.get(i as i64).argmax(0, false).int64_value(&[]), returned[i], "{what}");
                    assert_ne!(returned[i], labels[i], "{what}");
                }
                None => assert_eq!((distance, returned[i]), (0.0, labels[i]), "{what}"),
            }
        }
    }
}

#[test]
fn amun_steps_match_the_fixture() {
    let mut fixtures = fixtures();
    let golden = fixtures["amun"].clone();
    fixtures["setup"]["labels"]["forget"] = golden["forget_labels_for_the_attack"].clone();
    let dataset = dataset(&fixtures, &[]);
    for run in golden["finetune"].as_array().unwrap() {
        let overrides: Vec<&str> = run["overrides"].as_array().unwrap().iter().map(|o| o.as_str().unwrap()).collect();
        let settings = AmunSettings {
            attack: attack_of(&golden["attacks"][0]),
            use_weighted_loss: overrides.contains(&"unlearn.use_weighted_loss=true"),
            retain_weight: 0.7,
            forget_weight: 0.3,
            use_retain: true,
            use_forget: !overrides.contains(&"unlearn.use_forget=false"),
        };
        let (what, steps) = (run["case"].as_str().unwrap(), &run["steps"]);
        let mut method = Amun::new(settings, phase(steps.as_array().unwrap().len()));
        Golden { what, dataset: &dataset, steps, terms: &|_| &[], norm_tolerance: 1e-6, compat: COMPAT }.check_from(
            &mut formula_model(),
            run["batch_size"].as_u64().unwrap() as usize,
            &mut method,
        );
    }
}

/// The result of an AMUN run on real images.
struct AmunRun {
    model: Model,
    set: AdversarialSet,
    /// True if the run made the set by the attack, false if it read the set from the cache.
    attacked: bool,
}

fn digits(cache: &Path, more: &str) -> Config {
    let overrides = format!(
        "data=digits model=resnet20 unlearn=amun data.debug_subset_size=120 data.batch_size=32 trainer.precision=64 \
         split.forget_frac=0.3 unlearn.trainer.max_epochs=1 unlearn.attack.steps=4 unlearn.attack.step_factor=0.4 \
         unlearn.attack.max_rounds=4 unlearn.attack.epsilon_init=0.5 paths.cache_dir={} {more}",
        cache.display()
    );
    let overrides: Vec<String> = overrides.split_whitespace().map(String::from).collect();
    load(&Request { overrides: &overrides, ..Request::default() }).unwrap().config
}

fn digits_dataset(config: &Config) -> DeviceDataset {
    let dataset = load_dataset(&config.data, LoadOptions { cache_dir: &config.paths.cache_dir, threads: 1 }).unwrap();
    let parts = split::split(&dataset.train.labels, &config.split).unwrap();
    DeviceDataset::new(&dataset, parts, &config.data, Kind::Double, Device::Cpu).unwrap()
}

fn run_amun(config: &Config, dataset: &DeviceDataset, model_seed: u64) -> AmunRun {
    let architecture = build(&config.model.model).unwrap().into();
    let mut model = Model::initialise(&architecture, model_seed, "base", Kind::Double, Device::Cpu).unwrap();
    let world = World::solo();
    let settings = TrainSettings::new(config, &world, "unlearn/amun", 42);
    let own: AmunSettings = config.unlearn.as_ref().unwrap().method.decode_ignoring(SHARED).unwrap();
    let mut method = Amun::new(own, phase(1));
    Trainer { world: &world, dataset, model: &mut model, settings }.run(&mut method, &mut ()).unwrap();
    let set = method.adversarial().unwrap();
    let set = AdversarialSet { images: set.images.shallow_clone(), labels: set.labels.shallow_clone() };
    AmunRun { model, set, attacked: world.image_counts().contains_key("unlearn/amun/attack/forget") }
}

const SHARED: &[&str] = regun::config::schema::UnlearnConfig::SHARED_KEYS;

#[test]
fn adversarial_images_of_real_data_are_in_bounds_near_their_originals_and_labelled_by_the_model() {
    let folder = tempfile::tempdir().unwrap();
    let config = digits(folder.path(), "");
    let dataset = digits_dataset(&config);
    let AmunRun { set, .. } = run_amun(&config, &dataset, 1);
    let architecture = build(&config.model.model).unwrap().into();
    let base = Model::initialise(&architecture, 1, "base", Kind::Double, Device::Cpu).unwrap();

    let (least, greatest) = dataset.bounds().unwrap();
    let inside = set.images.ge_tensor(&least).logical_and(&set.images.le_tensor(&greatest));
    assert_eq!(inside.all().int64_value(&[]), 1);
    let samples = dataset.indices(Part::Forget);
    let (clean, own) = dataset.make_batch(Part::Forget, samples, None).unwrap();
    assert_eq!(set.images.size(), clean.size());
    let distances = (&set.images - &clean).norm_scalaropt_dim(2, [1i64, 2, 3].as_slice(), false);
    let seen = no_grad(|| base.eval(&set.images)).unwrap().argmax(1, false);
    let mut fooled = 0;
    for i in 0..samples.len() as i64 {
        let (distance, label, own) =
            (distances.double_value(&[i]), set.labels.int64_value(&[i]), own.int64_value(&[i]));
        assert!(distance <= 4.0 * (1.0 + 1e-12), "image {i}: {distance}");
        if label == own {
            assert_eq!(distance, 0.0, "image {i}");
        } else {
            assert_eq!(seen.int64_value(&[i]), label, "image {i}");
            fooled += 1;
        }
    }
    assert!(fooled > 0, "the attack changed no label, so the test checks nothing");
}

#[test]
fn an_adversarial_set_is_made_once_for_each_base_model_and_setting() {
    let folder = tempfile::tempdir().unwrap();
    let config = digits(folder.path(), "");
    let dataset = digits_dataset(&config);
    let first = run_amun(&config, &dataset, 1);
    let again = run_amun(&config, &dataset, 1);
    assert!(first.attacked && !again.attacked);
    assert_eq!((&first.set.images, &first.set.labels), (&again.set.images, &again.set.labels));
    for ((name, one), (_, other)) in first.model.state.named().zip(again.model.state.named()) {
        assert_eq!(one, other, "{name}");
    }

    // Another base model gets a file of the same name with other contents.
    let other_base = run_amun(&config, &dataset, 2);
    assert!(other_base.attacked);
    assert_ne!(other_base.set.images, first.set.images);
    assert!(!run_amun(&config, &dataset, 2).attacked, "the new set must replace the old one");

    let attack = PgdAttack { epsilon_init: 0.5, steps: 4, step_factor: 0.4, max_rounds: 4 };
    let path = Names::of(&config).adversarial_set(&attack.file_name_part(), "safetensors");
    let whole = std::fs::read(&path).unwrap();
    std::fs::write(&path, &whole[..whole.len() / 2]).unwrap();
    assert!(run_amun(&config, &dataset, 2).attacked);
    assert!(path.with_added_extension("corrupt").exists());
    assert_eq!(std::fs::read(&path).unwrap(), whole, "the new file must equal the old one bit for bit");
}

// ---- LUR ----

fn pruning() -> PruningSettings {
    PruningSettings { enabled: false, auto: true, sparsity: None, prune_num: 1, layer_patterns: None, exclude_bn: true }
}

fn lur(alpha: f64, retain_weight: f64, forget_weight: f64, epochs: usize) -> Lur {
    Lur::new(LurSettings { alpha, retain_weight, forget_weight, pruning: pruning() }, phase(epochs))
}

#[test]
fn lur_steps_match_the_fixture() {
    let fixtures = fixtures();
    let dataset = dataset(&fixtures, &[]);
    for run in fixtures["lur"]["pruning_off"].as_array().unwrap() {
        let [alpha, retain, forget] = ["alpha", "retain_weight", "forget_weight"].map(|key| number(&run[key]));
        let steps = &run["steps"];
        let what = format!("lur alpha {alpha}");
        let terms = [("retain_ce", "retain_ce"), ("forget_ce_ahead", "forget_ce_at_lookahead")];
        check(&what, &mut lur(alpha, retain, forget, steps.as_array().unwrap().len()), &dataset, steps, &terms);
    }
}

#[test]
fn snip_resets_the_listed_weights() {
    let fixtures = fixtures();
    let whole = dataset(&fixtures, &[]);
    let names = Names {
        cache_dir: "cache".into(),
        model: "resnet18".into(),
        dataset: "cifar10".into(),
        scheme: "random".into(),
        forget_frac: 0.1,
        seed: 42,
    };
    for (case, golden) in fixtures["lur"]["pruning_on"].as_array().unwrap().iter().enumerate() {
        let given = |patterns: &[&str]| PruningSettings {
            sparsity: golden["sparsity"].as_f64(),
            layer_patterns: Some(patterns.iter().map(|&name| name.to_owned()).collect()),
            ..pruning()
        };
        let settings_of_case = match case {
            0 => pruning(),
            1 | 4 => given(&["fc"]),
            2 => PruningSettings { auto: false, layer_patterns: None, ..given(&[]) },
            3 => PruningSettings { exclude_bn: false, ..given(&["layer4.0"]) },
            5 => PruningSettings { prune_num: 2, ..pruning() },
            _ => panic!("a new case"),
        };
        let what = golden["case"].as_str().unwrap();
        let batch_size = golden["batch_size"].as_u64().unwrap() as usize;
        assert_eq!(golden["prune_num"], settings_of_case.prune_num, "{what}");
        let plan = settings_of_case.plan(Some(&names)).unwrap();
        assert_eq!(plan.sparsity, number(&golden["sparsity"]), "{what}");

        let mut model = formula_model();
        let world = World::solo();
        let sampler = Sampler { shuffled: false, ..Sampler::cycle(Part::Forget, View::Train) };
        let mut loader = DataLoader::new(sampler, &whole, batch_size, 42, "test").unwrap();
        let settings = settings(batch_size);
        let context = TrainContext { world: &world, dataset: &whole, model: &mut model, settings: &settings };
        let selection = snip::select(&context, &settings_of_case, &plan, &mut loader).unwrap().unwrap();
        close(what, selection.threshold, &golden["threshold"], 1e-7);
        close(what, selection.last_loss, &golden["last_snip_loss"], 1e-9);

        // The fixture resets weights to zeros instead of random numbers, and so does this test.
        let layout = model.state.layout();
        let eligible: Vec<&str> = selection.reset.iter().map(|(slot, _)| layout.spec(*slot).name.as_str()).collect();
        assert_eq!(json!(eligible), golden["eligible_parameters"], "{what}");
        for (slot, reset) in &selection.reset {
            let name = &layout.spec(*slot).name;
            let wanted = golden["reset_elements_by_parameter"][name].as_i64().unwrap();
            let count = sum(reset) as i64;
            assert!((count - wanted).abs() <= 2, "{what}: {name}: {count}, wanted {wanted}");
            let weight = model.state.get(*slot);
            let _ = no_grad(|| weight.shallow_clone().masked_fill_(reset, 0.0));
            let wanted = number(&golden["after_pruning"]["param_sums_eligible"][name]);
            assert!((sum(weight) - wanted).abs() <= 1e-7 * sum(&weight.abs()).max(1e-3), "{what}: {name}");
        }
        check_norms(&model, &golden["after_pruning"]["param_norms"], 1e-7);
        check_norms(&model, &golden["after_pruning"]["bn"], 1e-8);

        let dataset = first_of_each(&fixtures, batch_size);
        let steps = json!([golden["first_training_step"]]);
        let golden =
            Golden { what, dataset: &dataset, steps: &steps, terms: &|_| &[], norm_tolerance: 1e-7, compat: COMPAT };
        golden.check_from(&mut model, batch_size, &mut lur(0.01, 0.5, 0.5, 1));
    }
}

/// The automatic patterns are names of a ResNet. As in the Python program, a network without such layers is not pruned.
#[test]
fn lur_prunes_no_swin_or_vit_unless_patterns_are_given() {
    let fixtures = fixtures();
    let dataset = dataset(&fixtures, &[]);
    let swin = SwinVariant { channels: 8, depths: [1, 1, 1, 1], heads: 2, drop: 0.0 };
    let vit = ViTVariant { channels: 8, hidden: 16, layers: 1, heads: 2, patch: 8 };
    let networks: [Arc<dyn Architecture>; 2] =
        [Arc::new(Swin::new(swin, 10)), Arc::new(ViT::new(vit, 16, 10).unwrap())];
    // The head of a new ViT is zero, so no weight of it matters for forget.
    for (network, pruned) in networks.iter().zip([vec!["head.weight"], vec![]]) {
        let prepared = |layer_patterns: Option<Vec<String>>| {
            let names = Names {
                cache_dir: "cache".into(),
                model: "swin_t".into(),
                dataset: "cifar10".into(),
                scheme: "random".into(),
                forget_frac: 0.1,
                seed: 42,
            };
            let pruning = PruningSettings { enabled: true, layer_patterns, ..pruning() };
            let settings_of_lur = LurSettings { alpha: 0.01, retain_weight: 0.5, forget_weight: 0.5, pruning };
            let mut model = Model::initialise(network, 42, "base", Kind::Double, Device::Cpu).unwrap();
            let settings = TrainSettings { names: Some(names), ..settings(6) };
            let (world, mut method) = (World::solo(), Lur::new(settings_of_lur, phase(0)));
            Trainer { world: &world, dataset: &dataset, model: &mut model, settings }
                .run(&mut method, &mut ())
                .map(|_| model.state)
        };
        let before = Model::initialise(network, 42, "base", Kind::Double, Device::Cpu).unwrap().state;
        let changed = |after: &State| {
            let pairs = before.named().zip(after.tensors());
            pairs.filter(|((_, a), b)| a != b).map(|((name, _), _)| name.to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(changed(&prepared(None).unwrap()), [""; 0]);
        assert_eq!(changed(&prepared(Some(vec!["head.weight".into()])).unwrap()), pruned);
        let error = prepared(Some(vec!["layer3".into(), "layer4".into()])).err().unwrap();
        assert!(error.message().contains("layer_patterns=[layer3, layer4]: no parameter"), "{error}");
    }
}

/// A dataset of the first `n` forget and the first `n` retain images.
fn first_of_each(fixtures: &Value, n: usize) -> DeviceDataset {
    let images = |stream| formula_images(&[n as i64, 3, 16, 16], stream, 1.5, Kind::Double);
    let pixels = Tensor::cat(&[images(1001), images(1002)], 0);
    let labels = ["forget", "retain"].map(|part| labels(fixtures, part)[..n].to_vec()).concat();
    let parts = SplitIndices { forget: (0..n).collect(), retain: (n..2 * n).collect(), ..SplitIndices::default() };
    let test = DeviceImages::new(pixels.narrow(0, 0, 1), labels[..1].to_vec());
    DeviceDataset::prepared(DeviceImages::new(pixels, labels), test, parts, 10, 4)
}

#[test]
fn reinitialised_weights_lie_within_the_listed_bounds_and_the_rest_stays() {
    let fixtures = fixtures();
    let dataset = dataset(&fixtures, &[]);
    let mut model = formula_model();
    let before = model.state.deep_copy().unwrap();
    let world = World::solo();
    let pruning = PruningSettings {
        enabled: true,
        auto: false,
        sparsity: Some(0.5),
        layer_patterns: Some(vec!["conv1".into(), "layer4.1.bn2".into(), "fc".into()]),
        exclude_bn: false,
        ..pruning()
    };
    let settings_of_lur = LurSettings { alpha: 0.01, retain_weight: 0.5, forget_weight: 0.5, pruning };
    let mut method = Lur::new(settings_of_lur, phase(0));
    Trainer { world: &world, dataset: &dataset, model: &mut model, settings: settings(6) }
        .run(&mut method, &mut ())
        .unwrap();
    let bound_of = |shape: &[i64]| {
        let mut listed = fixtures["lur"]["reinit_bounds"].as_array().unwrap().iter();
        listed.find(|listed| listed["shape"] == json!(shape)).map(|listed| number(&listed["uniform_bound"]))
    };
    let mut bounded = 0;
    for ((slot, entry, after), (.., before)) in model.state.parameters().zip(before.parameters()) {
        let moved = after.ne_tensor(before);
        let fresh = after.masked_select(&moved);
        let eligible = ["conv1", "layer4.1.bn2", "fc"].iter().any(|name| entry.name.contains(name));
        assert_eq!(eligible, fresh.numel() > 0, "{} {slot:?}", entry.name);
        if entry.name.ends_with("bias") {
            assert_eq!(sum(&fresh.abs()), 0.0, "{}", entry.name);
        } else if let (true, Some(bound)) = (eligible, bound_of(&entry.shape)) {
            let largest = fresh.abs().max().double_value(&[]);
            assert!(largest <= bound && largest > 0.8 * bound, "{}: {largest}, bound {bound}", entry.name);
            bounded += 1;
        }
    }
    assert_eq!(bounded, 3, "conv1, a norm and the head");
}
