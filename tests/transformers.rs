//! Properties of Swin and ViT that training relies on, tested on small networks in float64: gradients of single
//! samples, second derivatives, and residual branches that are dropped for each sample.

mod formula;
mod formula_network;

use std::sync::Arc;

use formula_network::{formula_images, formula_state};
use regun::models::Model;
use regun::models::stochastic_depth::StochasticDepth;
use regun::models::swin::{Swin, SwinVariant};
use regun::models::vit::{ViT, ViTVariant};
use regun::models::{Architecture, Forward, Mode, State, Statistics};
use regun::random::RandomStream;
use regun::random::SampleKeys;
use regun::train::loss::cross_entropy_sum;
use regun::unlearn::fisher::squared_gradients;
use tch::{Device, Kind, Tensor, no_grad};

const SWIN: SwinVariant = SwinVariant { channels: 8, depths: [2, 2, 1, 1], heads: 2, drop: 0.5 };
const VIT: ViTVariant = ViTVariant { channels: 12, hidden: 20, layers: 2, heads: 3, patch: 4 };

/// Networks, each with the height and width of its images. Swin's first stage has 15 x 13 tokens: its windows are
/// padded and shifted along both sides. The second has 8 x 7: its windows are shifted along one side. Patch merging
/// gets odd sides.
fn networks() -> [(Arc<dyn Architecture>, [i64; 2]); 2] {
    [(Arc::new(Swin::new(SWIN, 6)), [61, 53]), (Arc::new(ViT::new(VIT, 12, 6).unwrap()), [12, 12])]
}

fn images(n: i64, [height, width]: [i64; 2]) -> Tensor {
    formula_images(&[n, 3, height, width], 7, 1.5, Kind::Double)
}

fn labels(n: i64) -> Tensor {
    (Tensor::arange(n, (Kind::Int64, Device::Cpu)) * 5).remainder(6)
}

fn norm(tensor: &Tensor) -> f64 {
    tensor.to_kind(Kind::Double).square().sum(Kind::Double).sqrt().double_value(&[])
}

#[test]
fn squared_gradients_are_those_of_one_sample_at_a_time() {
    for (architecture, size) in networks() {
        let model = Model::new(&architecture, formula_state(&*architecture, Kind::Double));
        let (images, labels) = (images(4, size), labels(4));
        let ours = squared_gradients(&model, &images, &labels).unwrap();

        let model = model.frozen_copy().unwrap();
        let weights: Vec<Tensor> =
            model.state.parameters().map(|(.., weight)| weight.set_requires_grad(true)).collect();
        let mut wanted: Vec<Tensor> = weights.iter().map(|weight| weight.detach().zeros_like()).collect();
        for i in 0..4 {
            let logits = model.eval(&images.narrow(0, i, 1)).unwrap();
            let loss = cross_entropy_sum(&logits, &labels.narrow(0, i, 1), 0.0);
            let gradients = Tensor::run_backward(&[loss], &weights, false, false);
            wanted.iter_mut().zip(gradients).for_each(|(sum, gradient)| *sum += gradient.square());
        }
        for ((_, entry, _), (ours, wanted)) in model.state.parameters().zip(ours.iter().zip(&wanted)) {
            assert_eq!(ours.size(), wanted.size(), "{}", entry.name);
            let (distance, length) = (norm(&(ours - wanted)), norm(wanted));
            assert!(length > 0.0 && distance < 1e-10 * length, "{}: {distance} of {length}", entry.name);
        }
    }
}

/// Gradient of the loss at `weights`. With `twice` it has a graph of its own.
fn gradient(architecture: &dyn Architecture, weights: &[Tensor], size: [i64; 2], twice: bool) -> Vec<Tensor> {
    let context = Forward::new(weights, Mode::Eval, Statistics::Running);
    let mut context = if twice { context.twice_differentiable() } else { context };
    let logits = architecture.forward(&mut context, &images(3, size)).unwrap();
    let loss = cross_entropy_sum(&logits, &labels(3), 0.0);
    let leaves: Vec<&Tensor> = weights.iter().filter(|weight| weight.requires_grad()).collect();
    Tensor::f_run_backward(&[&loss], &leaves, twice, twice).unwrap()
}

/// Compares the Hessian times a vector, which LUR needs, with differences of gradients of the fused attention.
#[test]
fn second_derivatives_are_those_of_finite_differences() {
    const STEP: f64 = 1e-5;
    for (architecture, size) in networks() {
        let state = formula_state(&*architecture, Kind::Double);
        let layout = architecture.layout();
        let learns = |i: usize| layout.specs()[i].role == regun::models::layout::TensorRole::Parameter;
        let directions: Vec<Tensor> = layout
            .specs()
            .iter()
            .enumerate()
            .map(|(i, entry)| formula_images(&entry.shape, 900 + i as u64, 1.0, Kind::Double))
            .collect();
        let moved = |step: f64| -> Vec<Tensor> {
            let weights = state.tensors().iter().zip(&directions).enumerate();
            weights
                .map(|(i, (weight, direction))| match learns(i) {
                    true => (weight + direction * step).set_requires_grad(true),
                    false => weight.shallow_clone(),
                })
                .collect()
        };
        let weights = moved(0.0);
        let leaves: Vec<&Tensor> = weights.iter().filter(|weight| weight.requires_grad()).collect();
        let of_leaves = || directions.iter().enumerate().filter(|(i, _)| learns(*i)).map(|(_, direction)| direction);
        let first = gradient(&*architecture, &weights, size, true);
        let along: Tensor = first.iter().zip(of_leaves()).map(|(g, v)| (g * v).sum(Kind::Double)).sum();
        let product = Tensor::f_run_backward(&[&along], &leaves, false, false).unwrap();

        let fused = gradient(&*architecture, &weights, size, false);
        let (after, before) = (moved(STEP), moved(-STEP));
        let (after, before) =
            (gradient(&*architecture, &after, size, false), gradient(&*architecture, &before, size, false));
        let names = layout.parameters().map(|(_, entry)| &entry.name);
        for (i, name) in names.enumerate() {
            assert!(norm(&(&fused[i] - &first[i])) < 1e-12 * norm(&first[i]), "{name}: first derivative");
            let difference = (&after[i] - &before[i]) / (2.0 * STEP);
            let distance = norm(&(&product[i] - &difference));
            assert!(distance < 1e-6 * (norm(&difference) + 1e-3), "{name}: {distance} of {}", norm(&difference));
        }
    }
}

fn train(architecture: &dyn Architecture, state: &State, images: &Tensor, samples: &[usize], epoch: u64) -> Tensor {
    let stream = RandomStream::new(1, "test");
    let keys = SampleKeys { stream: &stream, epoch, samples };
    let mut context = Forward::train(state, Statistics::Batch).with_sample_keys(keys);
    no_grad(|| architecture.forward(&mut context, images)).unwrap()
}

/// Each sample decides by its own key which branches it drops: a batch that is cut in two gives the same rows, even if
/// one part is empty.
#[test]
fn outputs_of_training_do_not_depend_on_the_batch() {
    for (architecture, size) in networks() {
        let state = formula_state(&*architecture, Kind::Double);
        let images = images(6, size);
        let samples = [3, 14, 15, 92, 65, 35];
        let whole = train(&*architecture, &state, &images, &samples, 2);
        for cut in [0, 2] {
            let part = |from: usize, to: usize| {
                let images = images.narrow(0, from as i64, (to - from) as i64);
                train(&*architecture, &state, &images, &samples[from..to], 2)
            };
            let parts = Tensor::cat(&[part(0, cut), part(cut, 6)], 0);
            assert!((&parts - &whole).abs().max().double_value(&[]) < 1e-12, "cut at {cut}");
        }
    }
    // Swin draws again in each epoch.
    let (swin, size) = &networks()[0];
    let state = formula_state(&**swin, Kind::Double);
    let run = |epoch| train(&**swin, &state, &images(6, *size), &[0, 1, 2, 3, 4, 5], epoch);
    assert_eq!(run(2), run(2));
    assert_ne!(run(2), run(3));
    let evaluated = no_grad(|| swin.forward(&mut Forward::eval(&state), &images(6, *size))).unwrap();
    assert_ne!(run(2), evaluated);
}

/// A rank with an empty shard has zeros as gradients, because it takes part in the all-reduce.
#[test]
fn an_empty_shard_has_gradients_of_zero() {
    for (architecture, size) in networks() {
        let state = formula_state(&*architecture, Kind::Double);
        let weights: Vec<Tensor> = state.parameters().map(|(.., weight)| weight.set_requires_grad(true)).collect();
        let stream = RandomStream::new(1, "test");
        let keys = SampleKeys { stream: &stream, epoch: 0, samples: &[] };
        let mut context = Forward::train(&state, Statistics::Batch).with_sample_keys(keys).twice_differentiable();
        let logits = architecture.forward(&mut context, &images(6, size).narrow(0, 0, 0)).unwrap();
        let loss = cross_entropy_sum(&logits, &labels(6).narrow(0, 0, 0), 0.0);
        for gradient in Tensor::run_backward(&[loss], &weights, true, true) {
            assert_eq!(norm(&gradient), 0.0);
        }
    }
}

/// Branches are dropped with the stated probability and independently of each other. Kept branches are scaled so that
/// the mean stays the same.
#[test]
fn branches_are_kept_with_the_stated_probability() {
    const N: usize = 20_000;
    let drops = [0.0, 0.2, 0.5, 0.5];
    let depth = StochasticDepth::new(drops.to_vec());
    let samples: Vec<usize> = (0..N).collect();
    let stream = RandomStream::new(3, "test");
    let context = Forward::new(&[], Mode::Train, Statistics::Batch);
    let keyed = context.with_sample_keys(SampleKeys { stream: &stream, epoch: 0, samples: &samples });
    let x = Tensor::zeros([N as i64, 1], (Kind::Double, Device::Cpu));
    let factors = depth.factors(&keyed, &x).unwrap();
    assert!(factors[0].is_none());
    let kept: Vec<Tensor> = factors[1..].iter().map(|factors| factors.as_ref().unwrap().flatten(0, -1)).collect();
    // Five standard errors of a frequency.
    let close = |got: f64, p: f64| (got - p).abs() < 5.0 * (p * (1.0 - p) / N as f64).sqrt();
    for (factors, drop) in kept.iter().zip(&drops[1..]) {
        assert!(close(factors.eq(0.0).to_kind(Kind::Double).mean(Kind::Double).double_value(&[]), *drop));
        let nonzero = factors.masked_select(&factors.ne(0.0));
        assert!((nonzero - 1.0 / (1.0 - drop)).abs().max().double_value(&[]) < 1e-15);
    }
    let both = (&kept[1] * &kept[2]).ne(0.0).to_kind(Kind::Double).mean(Kind::Double).double_value(&[]);
    assert!(close(both, 0.25), "{both}");

    let evaluating = Forward::new(&[], Mode::Eval, Statistics::Running);
    assert!(depth.factors(&evaluating, &x).unwrap().iter().all(Option::is_none));
    assert!(depth.factors(&Forward::new(&[], Mode::Train, Statistics::Batch), &x).is_err());
}

/// The probabilities are torchvision's: 0 at the first block, linear in the block, the stated one at the last block.
#[test]
fn a_deeper_block_is_dropped_more_often() {
    assert_eq!([SwinVariant::TINY, SwinVariant::SMALL, SwinVariant::BASE].map(|v| v.drop), [0.2, 0.3, 0.5]);
    let drops = SwinVariant::TINY.branch_drops();
    assert_eq!(drops.len(), 24);
    for (branch, drop) in drops.iter().enumerate() {
        assert!((drop - 0.2 * (branch / 2) as f64 / 11.0).abs() < 1e-15);
    }
}

#[test]
fn an_image_of_the_wrong_size_is_refused_with_the_right_one() {
    let vit = ViT::new(VIT, 12, 6).unwrap();
    let state = formula_state(&vit, Kind::Double);
    let error = vit.forward(&mut Forward::eval(&state), &images(1, [16, 12])).unwrap_err();
    assert!(error.message().contains("12 x 12 pixels, got 16 x 12"), "{error}");
    let error = ViT::new(VIT, 13, 6).unwrap_err();
    assert!(error.message().contains("13 pixels cannot be cut into patches of 4"), "{error}");
    assert!(Swin::new(SWIN, 6).accepts(3, 8).is_err());
}
