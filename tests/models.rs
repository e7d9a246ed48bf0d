//! Networks compared with the golden numbers of `fixtures/models.json`, and properties that training relies on.

mod formula;
mod formula_network;

use std::sync::Arc;

use formula_network::{formula_images as images, formula_state};
use regun::config::schema::{ModelConfig, Stem};
use regun::error::ErrorKind;
use regun::models::init::Init;
use regun::models::layout::{LayoutBuilder, StateLayout, TensorDtype, TensorRole};
use regun::models::swin::{Swin, SwinVariant};
use regun::models::vit::{ViT, ViTVariant};
use regun::models::{Architecture, FEATURES, Forward, FusedState, REGISTRY, State, Statistics, build, build_for};
use regun::torch::is_channels_last;
use serde_json::Value;
use sha2::{Digest, Sha256};
use tch::{Device, Kind, Tensor, no_grad};

fn fixtures() -> Value {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/models.json");
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

fn model(name: &str, stem: Option<Stem>, num_classes: i64) -> ModelConfig {
    let name = name.to_owned();
    ModelConfig { stem, ..ModelConfig::plain(name, num_classes) }
}

/// Builds a network from an id of the fixtures, such as "resnet18/cifar/num_classes100", "swin_t" or "vit_b_16/32" (the
/// image size). An id without a number of classes has 10.
fn network(id: &str) -> Box<dyn Architecture> {
    let mut parts = id.split('/');
    let mut model = model(parts.next().unwrap(), None, 10);
    for part in parts {
        match part {
            "none" => model.stem = Some(Stem::None),
            "cifar" => model.stem = Some(Stem::Cifar),
            "tiny_imagenet" => model.stem = Some(Stem::TinyImagenet),
            _ => match part.strip_prefix("num_classes") {
                Some(classes) => model.num_classes = classes.parse().unwrap(),
                None => model.image_size = Some(part.parse().unwrap()),
            },
        }
    }
    build(&model).unwrap()
}

fn shape(value: &Value) -> Vec<i64> {
    value.as_array().unwrap().iter().map(|n| n.as_i64().unwrap()).collect()
}

fn floats(value: &Value) -> Vec<f64> {
    match value {
        Value::Array(items) => items.iter().flat_map(floats).collect(),
        number => vec![number.as_f64().unwrap()],
    }
}

fn values(tensor: &Tensor) -> Vec<f64> {
    Vec::try_from(tensor.to_kind(Kind::Double).contiguous().flatten(0, -1)).unwrap()
}

#[track_caller]
fn assert_close(got: &Tensor, wanted: &[f64], tolerance: f64, what: &str) {
    let got = values(got);
    assert_eq!(got.len(), wanted.len(), "{what}");
    let worst = got.iter().zip(wanted).map(|(g, w)| (g - w).abs()).fold(0.0, f64::max);
    assert!(worst <= tolerance, "{what}: off by {worst:e}");
}

fn norm(tensor: &Tensor) -> f64 {
    values(tensor).iter().map(|v| v * v).sum::<f64>().sqrt()
}

/// Names, shapes, order and counts of every network: ResNets with every stem, ViTs for two image sizes.
#[test]
fn layouts_are_those_of_torchvision() {
    let fixtures = fixtures();
    let models = fixtures["models"].as_object().unwrap();
    let mut seen = 0;
    for (id, wanted) in models {
        let architecture = network(id);
        let layout = architecture.layout();
        let got: Vec<(&str, &[i64])> = layout.specs().iter().map(|e| (e.name.as_str(), &e.shape[..])).collect();
        // Some have the digest only.
        if let Some(listed) = wanted["state_dict"].as_array() {
            assert_eq!(got.len(), listed.len(), "{id}");
            for (got, listed) in got.iter().zip(listed) {
                assert_eq!((got.0, got.1), (listed[0].as_str().unwrap(), &shape(&listed[1])[..]), "{id}");
            }
        }

        let dims = |shape: &[i64]| shape.iter().map(i64::to_string).collect::<Vec<_>>().join(",");
        let lines: Vec<String> = got.iter().map(|(name, shape)| format!("{name}:{}", dims(shape))).collect();
        let digest: String = Sha256::digest(lines.join("\n")).iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(wanted["keys_sha256"], digest.as_str(), "{id}");
        assert_eq!(wanted["parameter_tensors"], layout.parameters().count(), "{id}");
        assert_eq!(wanted["parameter_count"], layout.num_parameters(), "{id}");
        let buffers = layout.specs().iter().filter(|entry| entry.role == TensorRole::Buffer);
        assert_eq!(wanted["buffer_element_count"], buffers.map(|entry| entry.num_elements()).sum::<usize>(), "{id}");
        seen += 1;
    }
    assert_eq!(seen, 22);
}

/// True if our network has a feature of the same name as this module of torchvision.
fn stage(id: &str, name: &str) -> bool {
    match id.split('_').next() {
        Some("swin") => name != "avgpool",
        Some("vit") => !matches!(name, "encoder" | "encoder.ln"),
        _ => name.starts_with("layer"),
    }
}

/// Compares eval logits and intermediate outputs with the formula's weights. The fused path gives the same logits.
#[test]
fn eval_logits_match_the_fixtures() {
    for case in fixtures()["eval_logits"].as_array().unwrap() {
        let id = case["model"].as_str().unwrap();
        let architecture = network(id);
        for (dtype, key, tolerance, fused_tolerance) in
            [(Kind::Double, "logits_float64", 1e-9, 1e-12), (Kind::Float, "logits_float32", 1e-4, 1e-5)]
        {
            let state = formula_state(&*architecture, dtype);
            let x = images(&shape(&case["input_shape"]), 1000, 1.5, dtype);
            let listed = case["stage_outputs_float64"].as_object().unwrap();
            let stages: Vec<&str> = listed.keys().map(String::as_str).filter(|name| stage(id, name)).collect();
            let (logits, mut ctx) = no_grad(|| {
                let mut ctx = stages
                    .iter()
                    .fold(Forward::eval(&state), |ctx, name| ctx.with_feature_hook(name))
                    .with_feature_hook(FEATURES);
                (architecture.forward(&mut ctx, &x).unwrap(), ctx)
            });
            assert_close(&logits, &floats(&case[key]), tolerance, &format!("{id} {key}"));

            assert!(stages.len() >= 4);
            for name in stages {
                let wanted = &listed[name];
                let output = ctx.take_feature(name).unwrap();
                let tolerance = if dtype == Kind::Double { 1e-9 } else { 1e-4 };
                let first = output.contiguous().flatten(0, -1).narrow(0, 0, 3);
                assert_close(&first, &floats(&wanted["first3"]), tolerance, &format!("{id} {name}"));
                let l2 = wanted["l2"].as_f64().unwrap();
                assert!((norm(&output) / l2 - 1.0).abs() < tolerance, "{id} {name}");
                let keeps_layout = !id.starts_with("resnet") || is_channels_last(&output);
                assert!(keeps_layout, "{id} {name} left channels-last");
            }

            let features = ctx.take_feature(FEATURES).unwrap();
            let [weight, bias] = architecture.head() else { panic!("{id}: a head of weight and bias") };
            let by_head = no_grad(|| features.linear(state.get(*weight), Some(state.get(*bias))));
            assert_close(&by_head, &values(&logits), 0.0, &format!("{id} features"));

            let fused = FusedState::new(&state).unwrap();
            let fast = no_grad(|| architecture.forward(&mut Forward::fused(&fused), &x).unwrap());
            assert_close(&fast, &values(&logits), fused_tolerance, &format!("{id} fused"));
        }
    }
}

/// One forward pass in train mode: logits, running statistics, and eval logits afterwards.
#[test]
fn train_mode_updates_the_running_statistics() {
    for case in fixtures()["train_mode"].as_array().unwrap() {
        let (dtype, tolerance) = match case["dtype"].as_str().unwrap() {
            "float64" => (Kind::Double, 1e-9),
            _ => (Kind::Float, 1e-4),
        };
        let architecture = network(case["model"].as_str().unwrap());
        let state = formula_state(&*architecture, dtype);
        let x = images(&shape(&case["input_shape"]), 1000, 1.5, dtype);
        let logits = no_grad(|| architecture.forward(&mut Forward::train(&state, Statistics::Batch), &x).unwrap());
        assert_close(&logits, &floats(&case["logits"]), tolerance, "logits");
        for (name, wanted) in case["running_stat_l2_norms_after"].as_object().unwrap() {
            let got = norm(state.by_name(name).unwrap());
            let relative = if dtype == Kind::Double { 1e-9 } else { 1e-5 };
            assert!((got / wanted.as_f64().unwrap() - 1.0).abs() < relative, "{name}");
        }
        for name in ["mean", "var"] {
            let got = state.by_name(&format!("bn1.running_{name}")).unwrap().narrow(0, 0, 4);
            assert_close(&got, &floats(&case[format!("bn1_running_{name}_first4")]), tolerance, name);
        }
        for (name, tensor) in state.named().filter(|(name, _)| name.ends_with("num_batches_tracked")) {
            assert_eq!(tensor.int64_value(&[]), case["num_batches_tracked_after"][0].as_i64().unwrap(), "{name}");
        }
        let after = no_grad(|| architecture.forward(&mut Forward::eval(&state), &x.narrow(0, 0, 2)).unwrap());
        assert_close(&after, &floats(&case["eval_logits_afterwards_on_first_two_images"]), tolerance, "afterwards");
    }
}

/// A deep copy shares no memory with its state: other values in the copy change the copy's logits, not the state's.
#[test]
fn a_deep_copy_is_independent_of_its_state() {
    let architecture = build(&model("resnet20", None, 10)).unwrap();
    let init = |purpose| State::init(architecture.layout(), 1, purpose, Kind::Double, Device::Cpu).unwrap();
    let (state, other) = (init("a"), init("b"));
    let x = images(&[4, 3, 16, 16], 1000, 1.5, Kind::Double);
    let run = |state: &State| no_grad(|| architecture.forward(&mut Forward::eval(state), &x).unwrap());
    let (before, wanted) = (run(&state), run(&other));

    let copy = state.deep_copy().unwrap();
    for (copied, other) in copy.tensors().iter().zip(other.tensors()) {
        copied.shallow_clone().copy_(other);
    }
    assert_eq!(values(&run(&copy)), values(&wanted));
    assert_eq!(values(&run(&state)), values(&before));
    assert_ne!(values(&before), values(&wanted));
}

/// A batch of one value per channel leaves the running variance finite and unchanged.
#[test]
fn a_single_value_per_channel_keeps_the_running_variance() {
    let architecture = network("resnet18/none");
    let state = formula_state(&*architecture, Kind::Double);
    let before = state.deep_copy().unwrap();
    // An image of 32 x 32 pixels has one value per channel in the last stage.
    let x = images(&[1, 3, 32, 32], 1000, 1.5, Kind::Double);
    let logits = no_grad(|| architecture.forward(&mut Forward::train(&state, Statistics::Batch), &x).unwrap());
    assert!(values(&logits).iter().all(|v| v.is_finite()));
    let var = |state: &State, name: &str| values(state.by_name(name).unwrap());
    assert_eq!(var(&state, "layer4.1.bn2.running_var"), var(&before, "layer4.1.bn2.running_var"));
    assert_ne!(var(&state, "layer3.1.bn2.running_var"), var(&before, "layer3.1.bn2.running_var"));
    assert!(state.tensors().iter().all(|tensor| values(tensor).iter().all(|v| v.is_finite())));
}

/// The network has 0.27M weights (He et al. 2015, table 6); the exact number is counted by hand.
#[test]
fn resnet20_has_the_size_of_the_paper() {
    let architecture = build(&model("resnet20", None, 10)).unwrap();
    let convolutions = 9 * (3 * 16 + 6 * 16 * 16 + 16 * 32 + 5 * 32 * 32 + 32 * 64 + 5 * 64 * 64);
    let norms = 2 * (7 * 16 + 6 * 32 + 6 * 64);
    assert_eq!(architecture.layout().num_parameters(), convolutions + norms + 64 * 10 + 10);
    assert_eq!(architecture.layout().num_parameters(), 269_722);
    let head: Vec<&str> = architecture.head().iter().map(|&slot| &architecture.layout().spec(slot).name[..]).collect();
    assert_eq!(head, ["fc.weight", "fc.bias"]);

    let state = State::init(architecture.layout(), 1, "test", Kind::Double, Device::Cpu).unwrap();
    let x = images(&[4, 3, 32, 32], 1000, 1.5, Kind::Double);
    let mut ctx = Forward::eval(&state).with_feature_hook("layer3").with_feature_hook(FEATURES);
    let logits = no_grad(|| architecture.forward(&mut ctx, &x).unwrap());
    assert_eq!(logits.size(), [4, 10]);
    let stage = ctx.take_feature("layer3").unwrap();
    assert_eq!(stage.size(), [4, 64, 8, 8]);
    assert!(is_channels_last(&stage));
    assert_eq!(ctx.take_feature(FEATURES).unwrap().size(), [4, 64]);
    let fused = FusedState::new(&state).unwrap();
    let fast = no_grad(|| architecture.forward(&mut Forward::fused(&fused), &x).unwrap());
    assert_close(&fast, &values(&logits), 1e-12, "fused");
}

/// Mean and standard deviation of every random tensor, and the values of constant ones.
#[test]
fn initial_values_have_the_stated_distributions() {
    let architecture = network("resnet18/cifar");
    let state = State::init(architecture.layout(), 42, "base/init", Kind::Double, Device::Cpu).unwrap();
    for (slot, entry) in architecture.layout().slots() {
        let x = values(state.get(slot));
        let n = x.len() as f64;
        let mean = x.iter().sum::<f64>() / n;
        let std = (x.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / n).sqrt();
        let (wanted, kurtosis) = match &entry.shape[..] {
            [out, _, h, w] => ((2.0 / (out * h * w) as f64).sqrt(), 3.0),
            _ if entry.name.starts_with("fc.") => (1.0 / 512f64.sqrt() / 3f64.sqrt(), 1.8),
            _ => {
                let constant = f64::from(entry.name.ends_with("weight") || entry.name.ends_with("running_var"));
                assert!(x.iter().all(|&v| v == constant), "{}", entry.name);
                continue;
            }
        };
        // Five standard errors of the mean and of the standard deviation.
        assert!(mean.abs() < 5.0 * wanted / n.sqrt(), "{}: mean {mean}", entry.name);
        let error = ((kurtosis - 1.0) / (4.0 * n)).sqrt();
        assert!((std / wanted - 1.0).abs() < 5.0 * error, "{}: std {std}, wanted {wanted}", entry.name);
    }
    let bound = values(state.by_name("fc.weight").unwrap()).into_iter().fold(0.0, |a: f64, b| a.max(b.abs()));
    assert!(bound <= 1.0 / 512f64.sqrt() && bound > 0.99 / 512f64.sqrt());
}

/// Small networks have the distributions that torchvision's source states, and torchvision's index tables.
#[test]
fn initial_values_of_transformers_have_the_stated_distributions() {
    let swin = SwinVariant { channels: 32, depths: [2, 1, 1, 1], heads: 2, drop: 0.0 };
    let vit = ViTVariant { channels: 48, hidden: 96, layers: 2, heads: 3, patch: 8 };
    let networks: [Box<dyn Architecture>; 2] =
        [Box::new(Swin::new(swin, 10)), Box::new(ViT::new(vit, 64, 10).unwrap())];
    for architecture in networks {
        let state = State::init(architecture.layout(), 42, "base/init", Kind::Double, Device::Cpu).unwrap();
        for (slot, entry) in architecture.layout().slots() {
            let x = values(state.get(slot));
            let (name, shape) = (entry.name.as_str(), &entry.shape);
            let uniform = |bound: f64| (bound / 3f64.sqrt(), 1.8);
            let fan_in: f64 = shape.iter().skip(1).product::<i64>() as f64;
            let is = |parts: &[&str]| parts.iter().any(|part| name.contains(part));
            let (std, kurtosis) = if name.ends_with("relative_position_index") {
                // Token pairs (0, 0), (0, 48) and (48, 0): no, the least and the greatest difference of rows and
                // columns.
                assert_eq!((x[0], x[48], x[48 * 49], x.len()), (84.0, 0.0, 168.0, 2401), "{name}");
                continue;
            } else if is(&["features.0.0."]) {
                uniform(1.0 / 48f64.sqrt())
            } else if is(&["in_proj_weight"]) || is(&["encoder_layer"]) && is(&["mlp.0.weight", "mlp.3.weight"]) {
                uniform((6.0 / (shape[0] + shape[1]) as f64).sqrt())
            } else if is(&["out_proj.weight"]) {
                uniform(1.0 / 48f64.sqrt())
            } else if is(&["conv_proj.weight"]) {
                (fan_in.powf(-0.5), 3.0)
            } else if is(&["encoder_layer"]) && is(&["mlp.0.bias", "mlp.3.bias"]) {
                (1e-6, 3.0)
            } else if is(&["pos_embedding", "relative_position_bias_table"])
                || (name.starts_with("features") || name == "head.weight") && shape.len() == 2
            {
                (0.02, 3.0)
            } else {
                let constant = f64::from(shape.len() == 1 && name.ends_with("weight"));
                assert!(x.iter().all(|&v| v == constant), "{name}");
                continue;
            };
            let n = x.len() as f64;
            let mean = x.iter().sum::<f64>() / n;
            let got = (x.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / n).sqrt();
            // Six standard errors of the mean and of the standard deviation.
            assert!(mean.abs() < 6.0 * std / n.sqrt(), "{name}: mean {mean}");
            let error = ((kurtosis - 1.0) / (4.0 * n)).sqrt();
            assert!((got / std - 1.0).abs() < 6.0 * error, "{name}: std {got}, wanted {std}");
        }
    }
}

/// A ViT takes its image size from the images unless the configuration sets it. Images of another size are a usage
/// error.
#[test]
fn a_vit_takes_its_image_size_from_the_images() {
    let vit = model("vit_b_16", None, 10);
    let tokens = |model: &ModelConfig, sizes| {
        let architecture = build_for(model, sizes)?;
        let positions = architecture.layout().find("encoder.pos_embedding").unwrap();
        Ok::<_, regun::error::Error>(architecture.layout().spec(positions).shape[1])
    };
    assert_eq!(tokens(&vit, [(32, 32); 2]).unwrap(), 5);
    assert_eq!(tokens(&ModelConfig { image_size: Some(64), ..vit.clone() }, [(64, 64); 2]).unwrap(), 17);
    for (model, sizes, wanted) in [
        (vit.clone(), [(32, 32), (48, 48)], "32 x 32 pixels, got 48 x 48"),
        (ModelConfig { image_size: Some(64), ..vit.clone() }, [(32, 32); 2], "64 x 64 pixels, got 32 x 32"),
        (vit, [(8, 8); 2], "8 pixels cannot be cut into patches of 16"),
    ] {
        let error = tokens(&model, sizes).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Usage);
        assert!(error.message().contains(wanted), "{error}");
    }
}

/// Initial values depend only on (layout, seed, purpose), not on the number of threads. float32 values are float64
/// values rounded.
#[test]
fn initial_values_are_reproducible() {
    let architecture = build(&model("resnet20", None, 10)).unwrap();
    let init = |seed, purpose, dtype| State::init(architecture.layout(), seed, purpose, dtype, Device::Cpu).unwrap();
    let all = |state: &State| state.tensors().iter().flat_map(values).collect::<Vec<f64>>();
    let threads = tch::get_num_threads();
    tch::set_num_threads(1);
    let wanted = all(&init(42, "base/init", Kind::Double));
    tch::set_num_threads(threads);
    assert_eq!(all(&init(42, "base/init", Kind::Double)), wanted);
    assert_ne!(all(&init(43, "base/init", Kind::Double)), wanted);
    assert_ne!(all(&init(42, "retrained/init", Kind::Double)), wanted);
    let rounded: Vec<f64> = wanted.iter().map(|&v| f64::from(v as f32)).collect();
    assert_eq!(all(&init(42, "base/init", Kind::Float)), rounded);
}

#[test]
fn convolution_weights_are_kept_channels_last() {
    let architecture = network("resnet50/cifar");
    let state = State::init(architecture.layout(), 1, "test", Kind::Float, Device::Cpu).unwrap();
    let half = state.to(Kind::Double, Device::Cpu).unwrap();
    for state in [&state, &half, &state.deep_copy().unwrap()] {
        for (_, entry, tensor) in state.parameters().filter(|(_, entry, _)| entry.shape.len() == 4) {
            let (c, h, w) = (entry.shape[1], entry.shape[2], entry.shape[3]);
            assert_eq!(tensor.stride(), [h * w * c, 1, w * c, c], "{}", entry.name);
        }
    }
    assert_eq!(half.by_name("bn1.num_batches_tracked").unwrap().kind(), Kind::Int64);
    assert_eq!(half.by_name("bn1.running_var").unwrap().kind(), Kind::Double);
}

fn tiny_layout() -> Arc<StateLayout> {
    let mut builder = LayoutBuilder::new();
    builder.scope("layer", |builder| {
        for i in 0..7 {
            builder.parameter(&format!("w{i}"), &[2, 3], Init::Constant(0.0));
        }
        builder.buffer("count", &[], TensorDtype::Int64, Init::Constant(0.0));
    });
    Arc::new(builder.finish())
}

/// Loading takes exactly the layout's names and shapes, and an error lists the wrong ones.
#[test]
fn loading_checks_every_name_and_shape() {
    let layout = tiny_layout();
    let complete = || {
        let state = State::init(&layout, 1, "test", Kind::Float, Device::Cpu).unwrap();
        state.named().map(|(name, tensor)| (name.to_owned(), tensor.shallow_clone())).collect::<Vec<_>>()
    };
    let load = |named| State::from_named(&layout, named, Kind::Float, Device::Cpu);
    let loaded = load(complete()).unwrap();
    let tensors =
        |state: &State| state.named().map(|(name, tensor)| (name.to_owned(), tensor.copy())).collect::<Vec<_>>();
    assert_eq!(tensors(&loaded), complete());

    let message = |named| {
        let error = load(named).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Missing);
        error.message().to_owned()
    };
    let mut named = complete();
    named.retain(|(name, _)| !name.starts_with("layer.w"));
    named.push(("fc.weight".into(), Tensor::zeros([1], (Kind::Float, Device::Cpu))));
    let text = message(named);
    assert!(text.contains("7 missing: layer.w0, layer.w1, layer.w2, layer.w3, layer.w4, ..."), "{text}");
    assert!(text.contains("1 unexpected: fc.weight"), "{text}");

    let mut named = complete();
    named[0].1 = Tensor::zeros([3, 2], (Kind::Float, Device::Cpu));
    let text = message(named);
    assert!(text.contains("layer.w0 (got [3, 2], wanted [2, 3])"), "{text}");
}

/// Names are unique, and each can be built. The error for a misspelt name suggests the nearest one.
#[test]
fn every_name_of_the_registry_can_be_built() {
    for (i, info) in REGISTRY.iter().enumerate() {
        assert!(REGISTRY[..i].iter().all(|other| other.name != info.name));
        assert!(info.paper.starts_with("arXiv "));
        let architecture = build(&model(info.name, None, 10)).unwrap();
        assert!(architecture.layout().num_parameters() > 0);
    }
    let error = build(&model("resnet81", None, 10)).unwrap_err();
    assert!(error.hint_text().unwrap().contains("did you mean `resnet"), "{error}");
    assert_eq!(build(&model("resnet18", None, 0)).unwrap_err().kind(), ErrorKind::Usage);
}
