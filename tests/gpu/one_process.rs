//! One process on the GPU, compared with the CPU.

use regun::config::{Request, load};
use regun::data::augment::Augment;
use regun::distributed::World;
use regun::models::Model;
use regun::models::build;
use regun::random::{RandomStream, SampleKeys};
use regun::torch;
use regun::unlearn;
use tch::{Device, Kind, Tensor};

use crate::{DETERMINISTIC, GPU, PLAIN, assert_near, configure, dataset, distance, gpu, logits, train};

/// For each method, overrides that make it quick.
fn methods() -> Vec<String> {
    let brief = |name: &str| match name {
        "ssd" => "unlearn.alpha=1.2",
        "amun" => {
            "unlearn.trainer.max_epochs=1 unlearn.optim.lr=0.001 unlearn.attack.steps=5 unlearn.attack.max_rounds=3"
        }
        "lur" => "unlearn.pruning.enabled=false unlearn.trainer.max_epochs=1",
        // With a learning rate of 0.01, ten steps amplify float32 rounding to 2e-3.
        "scrub" => "unlearn.trainer.max_epochs=1 unlearn.optim.lr=0.001",
        _ => "unlearn.trainer.max_epochs=2",
    };
    unlearn::REGISTRY.iter().map(|method| format!("unlearn={} {}", method.name, brief(method.name))).collect()
}

pub fn float32_training_matches_the_cpu() {
    let _turn = gpu(PLAIN);
    let world = World::solo();
    for variant in methods().into_iter().chain([String::new()]) {
        let config = configure(&variant);
        let [ours, wanted] = [GPU, Device::Cpu].map(|device| train(&world, &config, Kind::Float, device));
        assert_near(&variant, &ours.losses, &wanted.losses, 1e-5, 1e-3);
        let apart = distance(&ours.weights, &wanted.weights);
        println!("{variant}: {} steps, weights {apart:.1e} apart", ours.losses.len());
        assert!(apart <= 1e-3, "{variant}: weights {apart:e} apart");
    }
}

/// float64 shows differences that float32 rounding would hide. They can only come from a different computation.
pub fn float64_training_matches_the_cpu() {
    let _turn = gpu(PLAIN);
    for variant in ["", "unlearn=regun unlearn.trainer.max_epochs=2", "unlearn=scrub unlearn.trainer.max_epochs=2"] {
        let config = configure(&format!("trainer.precision=64 {variant}"));
        let [ours, wanted] = [GPU, Device::Cpu].map(|device| train(&World::solo(), &config, Kind::Double, device));
        assert_near(variant, &ours.losses, &wanted.losses, 1e-12, 1e-8);
        assert!(distance(&ours.weights, &wanted.weights) <= 1e-8, "{variant}");
    }
}

pub fn an_upload_copies_a_tensor_unless_it_is_already_on_the_device() {
    let _turn = gpu(PLAIN);
    let host = Tensor::arange(1000, (Kind::Int64, Device::Cpu));
    let there = torch::upload(&host, Device::Cuda(0)).unwrap();
    let again = torch::upload(&there, Device::Cuda(0)).unwrap();
    assert_eq!((there.device(), again.data_ptr()), (Device::Cuda(0), there.data_ptr()));
    assert_eq!(torch::upload(&again, Device::Cpu).unwrap(), host);
}

pub fn logits_match_the_cpu() {
    let _turn = gpu(PLAIN);
    let config = configure("");
    let architecture = build(&config.model.model).unwrap().into();
    let [ours, wanted] = [GPU, Device::Cpu].map(|device| {
        let model = Model::initialise(&architecture, 42, "base", Kind::Float, device).unwrap();
        logits(&World::solo(), &dataset(&config, Kind::Float, device), &model)
    });
    assert!(!ours.is_empty() && ours.len() == wanted.len());
    let scale = wanted.iter().fold(1.0f32, |largest, logit| largest.max(logit.abs()));
    let apart = ours.iter().zip(&wanted).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max) / scale;
    assert!(apart <= 1e-4, "{apart:e} apart");
}

pub fn a_replayed_step_gives_the_numbers_of_a_launched_step() {
    // Deterministic algorithms, so that only the capture can make a difference.
    let _turn = gpu(DETERMINISTIC);
    for variant in [
        "trainer.max_epochs=3",
        "trainer.max_epochs=3 model.optim.name=adamw model.optim.lr=0.001",
        "trainer.max_epochs=3 trainer.accumulate_grad_batches=2 trainer.gradient_clip_val=0.5",
        "trainer.max_epochs=3 trainer.precision=bf16-mixed",
        "unlearn=regun unlearn.trainer.max_epochs=5",
        "unlearn=salun unlearn.trainer.max_epochs=5",
        "unlearn=scrub unlearn.trainer.max_epochs=5",
        "unlearn=lur unlearn.pruning.enabled=false unlearn.trainer.max_epochs=5",
    ] {
        let run = |graph: &str| {
            let config = configure(&format!("{variant} trainer.cuda_graph={graph}"));
            train(&World::solo(), &config, Kind::Float, GPU)
        };
        let (replayed, launched) = (run("true"), run("false"));
        assert_near(variant, &replayed.losses, &launched.losses, 1e-6, 1e-6);
        assert!(distance(&replayed.weights, &launched.weights) <= 1e-6, "{variant}");
    }
}

pub fn mixed_precision_follows_float32() {
    let _turn = gpu(PLAIN);
    let run = |precision: &str| {
        let config = configure(&format!("trainer.max_epochs=4 model.optim.lr=0.02 trainer.precision={precision}"));
        train(&World::solo(), &config, Kind::Float, GPU)
    };
    let (wide, bfloat16, float16) = (run("32"), run("bf16-mixed"), run("16-mixed"));
    assert_near("bf16-mixed", &bfloat16.losses, &wide.losses, 0.05, 0.05);
    // The products must be narrow, or the test compares float32 with itself. In the first step only they can make a
    // difference.
    for (name, narrow) in [("bf16-mixed", &bfloat16), ("16-mixed", &float16)] {
        let apart = (narrow.losses[0] - wide.losses[0]).abs() / wide.losses[0];
        assert!(apart > 1e-6, "{name} computed in float32: {apart:e} apart");
    }
    // The first steps may be skipped while the loss scale comes down, so the losses are not those of float32.
    let (first, last) = (float16.losses[0], *float16.losses.last().unwrap());
    assert!(last.is_finite() && last < first, "16-mixed: from {first} to {last}");
}

pub fn two_deterministic_runs_are_equal_to_the_last_bit() {
    let _turn = gpu(DETERMINISTIC);
    for variant in ["trainer.max_epochs=3", "unlearn=regun unlearn.trainer.max_epochs=3"] {
        let config = configure(&format!("trainer.deterministic=true trainer.precision=bf16-mixed {variant}"));
        let [one, other] = [0, 1].map(|_| train(&World::solo(), &config, Kind::Float, GPU));
        assert_eq!(one.losses, other.losses, "{variant}");
        assert!(one.weights == other.weights && one.logits == other.logits, "{variant}");
    }
}

/// All transforms at once, on images of 20 x 24 pixels.
pub fn augmented_images_match_the_cpu() {
    let _turn = gpu(PLAIN);
    let all = "data=cifar10 data.transforms.normalize.mean=[0,0,0] data.transforms.normalize.std=[1,1,1] \
        data.transforms.random_crop.size=20 +data.transforms.randaugment.enabled=true \
        +data.transforms.randaugment.num_ops=2 +data.transforms.randaugment.magnitude=9 \
        +data.transforms.randaugment.num_magnitude_bins=31 +data.transforms.color_jitter.enabled=true \
        +data.transforms.color_jitter.brightness=0.4 +data.transforms.color_jitter.contrast=0.4 \
        +data.transforms.color_jitter.saturation=0.4 +data.transforms.color_jitter.hue=0.1 \
        +data.transforms.random_erasing.enabled=true +data.transforms.random_erasing.p=0.5 \
        +data.transforms.random_erasing.scale=[0.02,0.2] +data.transforms.random_erasing.ratio=[0.3,3.3] \
        +data.transforms.random_erasing.value=random";
    let resized = "data.transforms.imagenet_resize.enabled=true data.transforms.imagenet_resize.train_size=28 \
        data.transforms.imagenet_resize.eval_resize=32 data.transforms.imagenet_resize.eval_crop=28 \
        data.transforms.imagenet_resize.normalize.mean=[0,0,0] data.transforms.imagenet_resize.normalize.std=[1,1,1]";
    let place = Tensor::arange(256 * 3 * 20 * 24, (Kind::Int64, Device::Cpu));
    let pixels = (&place * &place * 7 + &place * 13).remainder(256).to_kind(Kind::Uint8).view([256, 3, 20, 24]);
    let (stream, samples) = (RandomStream::new(7, "base/augment"), (0..256).collect::<Vec<usize>>());
    for variant in ["", resized] {
        let overrides: Vec<String> =
            all.split_whitespace().chain(variant.split_whitespace()).map(String::from).collect();
        let config = load(&Request { overrides: &overrides, ..Request::default() }).unwrap().config;
        let images = |device: Device| {
            let augment = Augment::new(&config.data.transforms, (20, 24), Kind::Float, device).unwrap();
            let keys = SampleKeys { stream: &stream, epoch: 3, samples: &samples };
            let pixels = pixels.to_device(device);
            [augment.train(&pixels, &keys).unwrap(), augment.eval(&pixels).unwrap()]
                .map(|images| images.to_device(Device::Cpu))
        };
        for (view, (got, wanted)) in ["training", "evaluation"].iter().zip(images(GPU).iter().zip(&images(Device::Cpu)))
        {
            let apart = (got - wanted).abs();
            let share = |limit: f64| apart.gt(limit).to_kind(Kind::Double).mean(Kind::Double).double_value(&[]);
            println!(
                "{view}: {:.1e} of the values differ, {:.1e} by more than a level",
                share(1e-5),
                share(1.01 / 255.0)
            );
            // Rounding to whole levels may go the other way, and later transforms may amplify that.
            assert!(share(1e-5) <= 1e-3 && share(1.01 / 255.0) <= 1e-4, "{view}: up to {}", apart.max());
        }
    }
}
