//! Optimizers, schedules and decay groups compared with `fixtures/schedules.json`, and the flat buffers with autograd.

mod formula;

use std::sync::Arc;

use regun::config::schema::{ModelConfig, OptimConfig, OptimName, SchedulerConfig, SchedulerName};
use regun::models::init::Init;
use regun::models::layout::{LayoutBuilder, StateLayout};
use regun::models::{Architecture, Forward, State, Statistics, build as build_model};
use regun::optim::schedule::lr;
use regun::optim::{FlatParams, Optimizer, WeightDecayGroups, build};
use serde_json::Value;
use tch::{Device, Kind, Tensor, no_grad};

fn fixtures() -> Value {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/schedules.json");
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

fn floats(value: &Value) -> Vec<f64> {
    value.as_array().unwrap().iter().map(|v| v.as_f64().unwrap()).collect()
}

fn values(tensor: &Tensor) -> Vec<f64> {
    Vec::try_from(tensor.detach().to_kind(Kind::Double).contiguous().flatten(0, -1)).unwrap()
}

fn optim(name: OptimName) -> OptimConfig {
    OptimConfig {
        name,
        lr: None,
        weight_decay: Some(5e-4),
        momentum: Some(0.9),
        nesterov: Some(true),
        betas: None,
        exclude_wd_norm_bias: None,
    }
}

/// Compares the learning rate of every epoch of every schedule. Warm-up cosines are float32 in the original.
#[test]
fn learning_rates_match_the_fixtures() {
    let fixtures = fixtures();
    let cases = fixtures["schedules"].as_array().unwrap();
    assert_eq!(cases.len(), 15);
    for case in cases {
        let schedule: SchedulerConfig = serde_json::from_value(case["scheduler"].clone()).unwrap();
        let base_lr = case["base_lr"].as_f64().unwrap();
        let warm = schedule.warmup_epochs.is_some_and(|epochs| epochs > 0);
        let tolerance = if warm { 1e-6 * base_lr } else { 1e-12 };
        let wanted = floats(&case["lr"]);
        assert_eq!(wanted.len() as i64, case["epochs"].as_i64().unwrap());
        for (epoch, wanted) in wanted.into_iter().enumerate() {
            let got = lr(&schedule, base_lr, epoch as i64).unwrap();
            assert!((got - wanted).abs() <= tolerance, "{}: epoch {epoch}: {got} {wanted}", case["name"]);
        }
    }
}

#[test]
fn a_schedule_names_the_setting_that_is_missing() {
    let schedule = |name, step_size| SchedulerConfig {
        name,
        step_size,
        gamma: None,
        milestones: None,
        t_max: None,
        warmup_epochs: None,
        warmup_start_lr: None,
    };
    let message = |schedule| lr(&schedule, 0.1, 0).unwrap_err().message().to_owned();
    assert!(message(schedule(SchedulerName::Step, None)).contains("step_size"));
    assert!(message(schedule(SchedulerName::Step, Some(0))).contains("step_size"));
    assert!(message(schedule(SchedulerName::Multistep, None)).contains("milestones"));
    assert!(message(schedule(SchedulerName::Cosine, None)).contains("t_max"));
}

struct Tiny {
    layout: Arc<StateLayout>,
    streams: Vec<u64>,
}

/// The parameters of the fixtures' optimizer steps.
fn tiny(fixtures: &Value) -> Tiny {
    let mut builder = LayoutBuilder::new();
    let mut streams = Vec::new();
    for parameter in fixtures["tiny_parameters"].as_array().unwrap() {
        let shape: Vec<i64> = parameter["shape"].as_array().unwrap().iter().map(|n| n.as_i64().unwrap()).collect();
        builder.parameter(parameter["name"].as_str().unwrap(), &shape, Init::Constant(0.0));
        streams.push(parameter["stream"].as_u64().unwrap());
    }
    Tiny { layout: Arc::new(builder.finish()), streams }
}

impl Tiny {
    fn state(&self, dtype: Kind) -> State {
        let tensor = |stream, shape: &[i64]| {
            let n = shape.iter().product::<i64>() as u64;
            Tensor::from_slice(&(0..n).map(|i| formula::s(stream, i)).collect::<Vec<f64>>()).reshape(shape)
        };
        let entries = self.layout.specs().iter().zip(&self.streams);
        let named = entries.map(|(entry, &stream)| (entry.name.clone(), tensor(stream, &entry.shape)));
        State::from_named(&self.layout, named, dtype, Device::Cpu).unwrap()
    }

    /// Writes the gradient of step `k`.
    fn fill_grads(&self, params: &FlatParams, k: u64) {
        for (j, param) in params.layout().params().iter().enumerate() {
            let value = |i| 0.5 * formula::s(3100 + 10 * k + j as u64, i);
            let values: Vec<f64> = (0..param.num_elements() as u64).map(value).collect();
            params.grad(param).unwrap().copy_(&Tensor::from_slice(&values).reshape(&param.size));
        }
    }
}

/// Compares three steps of every optimizer setting, with its parameter groups. The state is saved and loaded before the
/// third step.
#[test]
fn optimizer_steps_match_the_fixtures() {
    let fixtures = fixtures();
    let tiny = tiny(&fixtures);
    for case in fixtures["optimizer_steps"].as_array().unwrap() {
        let optim: OptimConfig = serde_json::from_value(case["optim"].clone()).unwrap();
        let groups = WeightDecayGroups::new(&optim, case["named_parameters_given"].as_bool().unwrap());
        for (dtype, key, tolerance) in
            [(Kind::Double, "after_steps_float64", 1e-12), (Kind::Float, "after_steps_float32", 1e-6)]
        {
            let mut state = tiny.state(dtype);
            let mut params = FlatParams::new(&mut state, groups, 1 << 20, |_| true).unwrap();
            let mut rule = build(&optim, &params).unwrap();

            for (g, wanted) in case["param_groups"].as_array().unwrap().iter().enumerate() {
                assert_eq!(params.groups()[g].weight_decay, wanted["weight_decay"].as_f64().unwrap());
                let names = params.layout().params().iter().filter(|p| p.group == g).map(|p| p.name.as_str());
                let listed = wanted["names"].as_array().unwrap().iter().map(|name| name.as_str().unwrap());
                assert_eq!(names.collect::<Vec<_>>(), listed.collect::<Vec<_>>());
            }

            for (k, wanted) in case[key].as_array().unwrap().iter().enumerate() {
                if k == 2 {
                    let saved = rule.state().unwrap().into_iter().map(|(name, t)| (name, t.copy())).collect();
                    rule = build(&optim, &params).unwrap();
                    rule.load_state(saved).unwrap();
                }
                tiny.fill_grads(&params, k as u64);
                rule.step(&mut params, optim.lr.unwrap()).unwrap();
                for (name, wanted) in wanted.as_object().unwrap() {
                    for (got, wanted) in values(state.by_name(name).unwrap()).iter().zip(floats(wanted)) {
                        assert!((got - wanted).abs() < tolerance, "{} step {k} {name}: {got} {wanted}", case["name"]);
                    }
                }
            }
        }
    }
}

#[test]
fn a_saved_state_of_another_optimizer_is_refused() {
    let tiny = tiny(&fixtures());
    let mut state = tiny.state(Kind::Float);
    let sgd = optim(OptimName::Sgd);
    let params = FlatParams::new(&mut state, WeightDecayGroups::new(&sgd, false), 1 << 20, |_| true).unwrap();
    let mut rule = build(&sgd, &params).unwrap();
    let saved = || rule_state(&*build(&sgd, &params).unwrap());
    let mut message = |saved| rule.load_state(saved).unwrap_err().message().to_owned();
    assert!(message(saved().split_off(1)).contains("momentum_buffer/layer.weight is missing"));
    let mut other = saved();
    other.push(("exp_avg/layer.weight".into(), Tensor::from(0.0)));
    assert!(message(other).contains("exp_avg/layer.weight is unexpected"));
    let mut other = saved();
    other[0].1 = Tensor::zeros([3, 2], (Kind::Float, Device::Cpu));
    assert!(message(other).contains("[3, 2], wanted [2, 3]"));
}

fn rule_state(rule: &dyn Optimizer) -> Vec<(String, Tensor)> {
    rule.state().unwrap()
}

#[test]
fn impossible_settings_are_refused() {
    let tiny = tiny(&fixtures());
    let mut state = tiny.state(Kind::Float);
    let sgd = optim(OptimName::Sgd);
    let params = FlatParams::new(&mut state, WeightDecayGroups::new(&sgd, false), 1 << 20, |_| true).unwrap();
    let refused = |optim: OptimConfig| build(&optim, &params).unwrap_err().message().to_owned();
    assert!(refused(OptimConfig { momentum: Some(0.0), ..sgd.clone() }).contains("nesterov"));
    assert!(refused(OptimConfig { momentum: Some(-1.0), ..sgd.clone() }).contains("momentum"));
    assert!(refused(OptimConfig { betas: Some([0.9, 1.0]), ..optim(OptimName::Adamw) }).contains("betas"));
    assert!(refused(optim(OptimName::None)).contains("none"));
}

fn model(name: &str) -> Box<dyn Architecture> {
    build_model(&ModelConfig::plain(name, 10)).unwrap()
}

/// Compares the parameters without decay, with names and the flag. Without either, all parameters decay.
#[test]
fn parameters_without_decay_match_the_fixtures() {
    let fixtures = fixtures();
    for name in ["resnet18", "swin_t", "vit_b_16"] {
        let wanted = &fixtures["decay_groups"][name];
        let architecture = model(name);
        let adamw =
            OptimConfig { exclude_wd_norm_bias: Some(true), weight_decay: Some(0.05), ..optim(OptimName::Adamw) };
        let exempt = |groups: WeightDecayGroups| -> Vec<String> {
            let names = architecture.layout().parameters().map(|(_, entry)| entry.name.clone());
            names.filter(|name| groups.weight_decay(name) == 0.0).collect()
        };
        let listed = wanted["no_decay"].as_array().unwrap().iter().map(|name| name.as_str().unwrap().to_owned());
        assert_eq!(exempt(WeightDecayGroups::new(&adamw, true)), listed.collect::<Vec<_>>(), "{name}");
        assert_eq!(exempt(WeightDecayGroups::new(&adamw, false)), Vec::<String>::new());
        assert_eq!(
            exempt(WeightDecayGroups::new(&OptimConfig { name: OptimName::Sgd, ..adamw }, true)),
            Vec::<String>::new()
        );
    }
}

/// The rule looks only at names: a norm layer decays if its name has neither "norm" nor ".ln".
#[test]
fn the_decay_rule_looks_only_at_names() {
    let adamw = OptimConfig { exclude_wd_norm_bias: Some(true), ..optim(OptimName::Adamw) };
    let groups = WeightDecayGroups::new(&adamw, true);
    for name in fixtures()["decay_groups"]["vit_b_16"]["no_decay"].as_array().unwrap() {
        assert_eq!(groups.weight_decay(name.as_str().unwrap()), 0.0);
    }
    for name in ["features.0.2.weight", "encoder.layers.encoder_layer_0.self_attention.in_proj_bias", "class_token"] {
        assert_eq!(groups.weight_decay(name), 5e-4, "{name}");
    }
}

fn batch(dtype: Kind) -> (Tensor, Tensor) {
    let x: Vec<f64> = (0..6 * 3 * 16 * 16).map(|i| 1.5 * formula::s(1000, i)).collect();
    (Tensor::from_slice(&x).reshape([6, 3, 16, 16]).to_kind(dtype), Tensor::from_slice(&[0i64, 1, 2, 3, 4, 5]))
}

fn loss(architecture: &dyn Architecture, state: &State) -> Tensor {
    let (x, y) = batch(Kind::Double);
    architecture.forward(&mut Forward::train(state, Statistics::Batch), &x).unwrap().cross_entropy_for_logits(&y)
}

/// The state's tensors share memory with the flat buffers, and the gradient buffers get the same bits that autograd
/// returns for ordinary leaves.
#[test]
fn gradients_add_up_in_the_flat_buffers() {
    let architecture = model("resnet20");
    let plain = State::init(architecture.layout(), 1, "test", Kind::Double, Device::Cpu).unwrap();
    let mut state = plain.deep_copy().unwrap();
    let adamw = OptimConfig { exclude_wd_norm_bias: Some(true), ..optim(OptimName::Adamw) };
    let mut params = FlatParams::new(&mut state, WeightDecayGroups::new(&adamw, true), 100_000, |_| true).unwrap();
    assert_eq!(params.groups().len(), 2);

    for (a, b) in plain.tensors().iter().zip(state.tensors()) {
        assert_eq!(values(a), values(b));
        assert_eq!(a.stride(), b.stride());
    }
    let leaves: Vec<Tensor> = plain.parameters().map(|(_, _, tensor)| tensor.set_requires_grad(true)).collect();
    let wanted = Tensor::run_backward(&[loss(&*architecture, &plain)], &leaves, false, false);

    for times in 1..=2 {
        // Gradients add up: the second pass doubles them. Training statistics do not enter the loss.
        loss(&*architecture, &state).backward();
        params.accumulate().unwrap();
        for (param, wanted) in params.layout().params().iter().zip(&wanted) {
            let got = params.grad(param).unwrap();
            assert_eq!(values(&got), values(&(wanted * times)), "{}", param.name);
            let leaf = state.get(param.slot);
            assert!(!leaf.grad().defined(), "{}", param.name);
            assert_eq!(leaf.data_ptr(), param.view(&params.groups()[param.group].values).unwrap().data_ptr());
        }
    }

    loss(&*architecture, &state).backward(); // leaves gradients at the parameters
    params.zero_grad().unwrap();
    params.accumulate().unwrap();
    assert!(params.groups().iter().all(|group| values(&group.grads).iter().all(|&v| v == 0.0)));
    no_grad(|| params.groups_mut().iter_mut().for_each(|group| drop(group.values.fill_(7.0))));
    assert!(state.parameters().all(|(_, _, leaf)| values(leaf).iter().all(|&v| v == 7.0)));
}

/// Frozen parameters are in no buffer, get no gradient and do not change. The head learns.
#[test]
fn frozen_parameters_stay_out() {
    let architecture = model("resnet20");
    let mut state = State::init(architecture.layout(), 1, "test", Kind::Double, Device::Cpu).unwrap();
    let before = state.deep_copy().unwrap();
    let sgd = optim(OptimName::Sgd);
    let head = architecture.head();
    let mut params =
        FlatParams::new(&mut state, WeightDecayGroups::new(&sgd, false), 1 << 20, |s| head.contains(&s)).unwrap();
    let mut rule = build(&sgd, &params).unwrap();
    loss(&*architecture, &state).backward();
    rule.step(&mut params, 0.1).unwrap();
    for (slot, entry, tensor) in state.parameters() {
        let moved = values(tensor) != values(before.get(slot));
        assert_eq!(moved, head.contains(&slot), "{}", entry.name);
        assert_eq!(tensor.requires_grad(), head.contains(&slot), "{}", entry.name);
    }
}

/// The gaps stay zero, so norms over whole buffers are norms over parameters.
#[test]
fn gaps_between_parameters_stay_zero() {
    let tiny = tiny(&fixtures());
    for name in [OptimName::Sgd, OptimName::Adamw] {
        let mut state = tiny.state(Kind::Float);
        let optim = optim(name);
        let mut params = FlatParams::new(&mut state, WeightDecayGroups::new(&optim, false), 1 << 20, |_| true).unwrap();
        let mut rule = build(&optim, &params).unwrap();
        for k in 0..3 {
            tiny.fill_grads(&params, k);
            rule.step(&mut params, 0.1).unwrap();
        }
        let inside: i64 = params.layout().params().iter().map(|p| p.num_elements()).sum();
        let nonzero = values(&params.groups()[0].values).iter().filter(|&&v| v != 0.0).count();
        assert_eq!(nonzero as i64, inside);
    }
}

/// Clipping works as in PyTorch's `clip_grad_norm_`: a larger gradient is scaled to the limit, a smaller one stays
/// unchanged.
#[test]
fn clipping_scales_to_the_limit() {
    let tiny = tiny(&fixtures());
    let mut state = tiny.state(Kind::Double);
    let adamw = OptimConfig { exclude_wd_norm_bias: Some(true), ..optim(OptimName::Adamw) };
    let mut params = FlatParams::new(&mut state, WeightDecayGroups::new(&adamw, true), 1 << 20, |_| true).unwrap();
    tiny.fill_grads(&params, 0);
    let all = |params: &FlatParams| -> Vec<f64> {
        params.layout().params().iter().flat_map(|p| values(&params.grad(p).unwrap())).collect()
    };
    let before = all(&params);
    let wanted = before.iter().map(|v| v * v).sum::<f64>().sqrt();

    let norm = params.clip_grad_norm(10.0 * wanted).unwrap().double_value(&[]);
    assert!((norm - wanted).abs() < 1e-12);
    assert_eq!(all(&params), before);

    let norm = params.clip_grad_norm(0.5).unwrap().double_value(&[]);
    assert!((norm - wanted).abs() < 1e-12);
    for (got, before) in all(&params).iter().zip(&before) {
        assert!((got - before * 0.5 / (wanted + 1e-6)).abs() < 1e-15);
    }
}

/// Buckets cover every buffer once, have at least the wanted size, and are in the order of the backward pass.
#[test]
fn buckets_are_a_pure_function_of_sizes() {
    let architecture = model("resnet20");
    let adamw = OptimConfig { exclude_wd_norm_bias: Some(true), ..optim(OptimName::Adamw) };
    let layout = |bucket_bytes| {
        let mut state = State::init(architecture.layout(), 1, "test", Kind::Float, Device::Cpu).unwrap();
        let params = FlatParams::new(&mut state, WeightDecayGroups::new(&adamw, true), bucket_bytes, |_| true).unwrap();
        let lens: Vec<i64> = params.groups().iter().map(|group| group.values.size()[0]).collect();
        (Arc::clone(params.layout()), lens)
    };
    let bytes = 100_000;
    let (flat, lens) = layout(bytes);
    assert_eq!(flat, layout(bytes).0);
    for (group, len) in lens.iter().enumerate() {
        let mut pieces: Vec<_> = flat.buckets().iter().filter(|bucket| bucket.group == group).collect();
        pieces.sort_by_key(|bucket| bucket.offset);
        let mut end = 0;
        for (i, bucket) in pieces.iter().enumerate() {
            assert_eq!(bucket.offset, end);
            end += bucket.len;
            // The piece at the front is the rest.
            assert!(i == 0 || bucket.len * 4 >= bytes as i64);
        }
        assert_eq!(end, *len);
    }
    for (b, bucket) in flat.buckets().iter().enumerate() {
        let inside: Vec<_> = flat.params().iter().filter(|param| param.bucket == b).collect();
        assert_eq!(inside.len(), bucket.num_params);
        let whole = bucket.offset..bucket.offset + bucket.len;
        assert!(inside.iter().all(|p| p.group == bucket.group && whole.contains(&p.offset)));
    }
    let first = |b| flat.params().iter().position(|param| param.bucket == b).unwrap();
    let firsts: Vec<usize> = (0..flat.buckets().len()).map(first).collect();
    assert!(firsts.windows(2).all(|pair| pair[0] > pair[1]), "{firsts:?}");
    assert_eq!(layout(usize::MAX).0.buckets().len(), 2);
}
