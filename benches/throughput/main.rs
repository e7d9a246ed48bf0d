//! How fast regun trains and evaluates, side by side with PyTorch on the same machine.
//!
//!     make bench
//!     cargo bench --bench throughput -- --only pipeline
//!     cargo bench --bench throughput -- --device cuda:0 --precision bf16-mixed --batch 1024 --steps 50 --peak-tflops 989
//!
//! Every contender holds the same network (ResNet-18 with the CIFAR stem, or torchvision's Swin-T or ViT-B/16 on images
//! of 224 pixels) and fixed random images, and does the same steps. In each round all of them run once, one after the
//! other, starting with another one each time: slow changes of the machine (heat, neighbours) hit all alike. The figure
//! of a contender is images per round over the median of its rounds; `-` where a program of PyTorch could not run,
//! which stops nothing else. Augmentation of resident images is compared with torchvision's transforms behind a
//! DataLoader of two workers, decoding Tiny ImageNet (where `--images` says where that is) with Pillow, and training on
//! two ranks with training on one, in the same way. On a GPU (or with `--engine`) whole steps of the real engine,
//! augmentation included, are compared with hand-tuned programs too. The table goes to stdout, the same numbers to
//! `target/bench.json`.

mod decode;
mod engine;
mod ours;
mod peer;
mod pipeline;
mod ranks;
mod report;
mod unlearning;

use std::error::Error;
use std::path::{Path, PathBuf};

use clap::Parser;
use tch::Device;

use ours::Ours;
use peer::Peers;
use regun::config::schema::Precision;
use regun::torch::Numerics;
use regun::train::Mixed;
use report::Row;

#[derive(Debug, Parser)]
struct Options {
    /// Only the rows whose name holds this.
    #[arg(long)]
    only: Option<String>,
    #[arg(long, default_value_t = 7)]
    rounds: usize,
    /// Steps of a contender in each round.
    #[arg(long, default_value_t = 5)]
    steps: usize,
    /// CPU threads of a contender.
    #[arg(long, default_value_t = 2)]
    threads: usize,
    #[arg(long, visible_alias = "batch", default_value_t = 128)]
    batch_size: usize,
    /// cpu, cuda or cuda:N
    #[arg(long, default_value = "cpu")]
    device: String,
    /// 32 or bf16-mixed.
    #[arg(long, default_value = "32", value_parser = ["32", "bf16-mixed"])]
    precision: String,
    /// Whole steps of the engine, on a CPU too.
    #[arg(long)]
    engine: bool,
    /// What the device could do at most, in TFLOP/s: the engine's share of it is printed (dense bfloat16 of an H100:
    /// 989).
    #[arg(long)]
    peak_tflops: Option<f64>,
    /// A Python with PyTorch and torchvision.
    #[arg(long, default_value = ".venv/bin/python")]
    python: PathBuf,
    /// The folder of Tiny ImageNet, for the decoding of its images.
    #[arg(long)]
    images: Option<PathBuf>,
    /// This process is a rank of the comparison of rank counts.
    #[arg(long, hide = true)]
    rank: bool,
    /// Given by `cargo bench`.
    #[arg(long, hide = true)]
    bench: bool,
}

impl Options {
    fn device(&self) -> Result<Device, Box<dyn Error>> {
        if self.device.starts_with("cuda") {
            regun::torch::load_cuda()?;
        }
        match (self.device.as_str(), self.device.strip_prefix("cuda:").map(str::parse)) {
            ("cpu", _) => Ok(Device::Cpu),
            ("cuda", _) => Ok(Device::Cuda(0)),
            (_, Some(Ok(index))) => Ok(Device::Cuda(index)),
            _ => Err(format!("--device {}: wanted cpu, cuda or cuda:N", self.device).into()),
        }
    }

    fn mixed(&self) -> Option<Mixed> {
        Mixed::new(if self.precision == "32" { Precision::F32 } else { Precision::Bf16Mixed })
    }

    fn peer_arguments(&self, steps: usize, batch_size: usize) -> Vec<String> {
        vec![
            format!("--steps={steps}"),
            format!("--threads={}", self.threads),
            format!("--batch-size={batch_size}"),
            format!("--device={}", self.device),
            format!("--precision={}", self.precision),
        ]
    }

    /// For the table.
    fn setting(&self, batch_size: usize) -> String {
        format!("batch {batch_size}, {}, {}, {} threads", self.device, self.precision, self.threads)
    }
}

/// Makes our side of a comparison, for a batch size.
type MakeOurs = fn(i64, Device, Option<Mixed>) -> regun::error::Result<Ours>;

/// What is measured, and the modes of `benches/baseline.py` that it is compared with.
struct Comparison {
    name: &'static str,
    ours: MakeOurs,
    /// As the baseline knows the network.
    model: &'static str,
    baselines: &'static [&'static str],
    /// Where it is not the option's.
    batch_size: Option<usize>,
    /// Where it is not the option's.
    steps: Option<usize>,
    /// Images that one step forwards, in batches.
    batches_per_step: usize,
}

/// Most rows: one batch of ResNet-18 for each step.
const RESNET18: Comparison = Comparison {
    name: "",
    ours: ours::train,
    model: "resnet18",
    baselines: &[],
    batch_size: None,
    steps: None,
    batches_per_step: 1,
};

const EVAL: &[&str] = &["eval", "eval-channels-last"];

const COMPARISONS: [Comparison; 6] = [
    Comparison { name: "train_step_resnet18", baselines: &["train", "train-channels-last"], ..RESNET18 },
    Comparison { name: "eval_forward_resnet18", ours: ours::evaluate, baselines: EVAL, ..RESNET18 },
    Comparison {
        name: "eval_forward_swin_t",
        ours: ours::evaluate_swin_t,
        model: "swin_t",
        baselines: EVAL,
        batch_size: Some(8),
        ..RESNET18
    },
    Comparison {
        name: "eval_forward_vit_b_16",
        ours: ours::evaluate_vit_b_16,
        model: "vit_b_16",
        baselines: EVAL,
        batch_size: Some(8),
        ..RESNET18
    },
    // SSD: a batch is a microbatch, and a copy of all weights for each image of it is what vmap needs.
    Comparison {
        name: "squared_gradients_resnet18",
        ours: unlearning::squared_gradients,
        baselines: &["fisher-loop", "fisher-vmap"],
        batch_size: Some(16),
        steps: Some(1),
        ..RESNET18
    },
    Comparison {
        name: "regun_epoch_and_evaluation_resnet18",
        ours: unlearning::epoch,
        baselines: &["regun-epoch"],
        steps: Some(1),
        batches_per_step: unlearning::BATCHES_PER_EPOCH,
        ..RESNET18
    },
];

fn main() -> Result<(), Box<dyn Error>> {
    regun::torch::keep_freed_memory();
    let options = Options::parse();
    if options.rank {
        return Ok(ranks::train(options.batch_size, options.steps)?);
    }
    tch::set_num_threads(i32::try_from(options.threads)?);
    Numerics { deterministic: false, tf32: true, benchmark: true }.apply()?;
    let mut rows = Vec::new();
    let wanted = |name: &str| options.only.as_deref().is_none_or(|part| name.contains(part));
    for comparison in COMPARISONS.iter().filter(|comparison| wanted(comparison.name)) {
        rows.extend(compare(&options, comparison)?);
    }
    for name in pipeline::DATA_SETS.into_iter().filter(|name| wanted(&format!("pipeline_{name}"))) {
        rows.push(pipeline::compare(&options, name)?);
    }
    if let Some(folder) = options.images.as_deref().filter(|_| wanted(decode::NAME)) {
        rows.push(decode::compare(folder, &options.python, options.rounds)?);
    }
    let device = options.device()?;
    if (options.engine || device.is_cuda()) && wanted(engine::NAME) {
        rows.extend(engine::compare(&options, device)?);
    }
    if device == Device::Cpu && wanted("ranks_resnet18") {
        rows.extend(ranks::compare(options.batch_size, options.steps, options.rounds)?);
    }
    print!("{}", report::table(&rows));
    report::write_json(&rows, Path::new("target/bench.json"))?;
    Ok(())
}

/// One row for each baseline.
fn compare(options: &Options, comparison: &Comparison) -> Result<Vec<Row>, Box<dyn Error>> {
    let name = comparison.name;
    let batch_size = comparison.batch_size.unwrap_or(options.batch_size);
    let steps = comparison.steps.unwrap_or(options.steps);
    let device = options.device()?;
    let mixed = options.mixed().filter(|mixed| mixed.is_for(device));
    let mut ours = (comparison.ours)(i64::try_from(batch_size)?, device, mixed)?;
    ours.seconds(steps.min(2))?;
    let mut arguments = options.peer_arguments(steps, batch_size);
    arguments.extend([format!("--warmup={}", steps.min(2)), format!("--model={}", comparison.model)]);
    let mut peers = Peers::start(&options.python, peer::BASELINE, comparison.baselines, &arguments);

    let contenders = 1 + peers.len();
    let mut own = Vec::with_capacity(options.rounds);
    for round in 0..options.rounds {
        for turn in 0..contenders {
            match (round + turn) % contenders {
                0 => own.push(ours.seconds(steps)?),
                peer => peers.ask(peer - 1),
            }
        }
        eprintln!("{name}: round {} of {}", round + 1, options.rounds);
    }

    let images = (steps * batch_size * comparison.batches_per_step) as f64;
    let rate = images / report::median(own);
    let setting = options.setting(batch_size);
    let row = |(mode, seconds): (&&str, f64)| {
        Row::faster(name, rate, images / seconds, &format!("PyTorch {mode}, {setting}"), "images/s")
    };
    Ok(comparison.baselines.iter().zip(peers.medians()).map(row).collect())
}
