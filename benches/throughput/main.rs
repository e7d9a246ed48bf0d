//! Training and inference speed of regun, side by side with PyTorch on the same machine.
//!
//!     make bench
//!     cargo bench --bench throughput -- --only pipeline
//!     cargo bench --bench throughput -- --device cuda:0 --precision bf16-mixed --batch 1024 --steps 50 --peak-tflops 989
//!
//! All programs of a comparison have the same network (ResNet-18 with the CIFAR stem, or torchvision's Swin-T or
//! ViT-B/16 on images of 224 pixels) and fixed random images, and do the same steps. In each round every program runs
//! once, one after the other. Each round starts with another program, so that slow changes of the machine (heat, other
//! users) affect all programs alike. The speed of a program is images per round divided by the median time of its
//! rounds. It is `-` if a PyTorch program cannot run; the other programs go on.
//!
//! | rows | compared with |
//! | --- | --- |
//! | augmentation of images in memory | torchvision's transforms in a DataLoader with two workers |
//! | decoding of Tiny ImageNet (with `--images`) | Pillow |
//! | training on two ranks | training on one rank |
//! | whole steps of the real training loop with augmentation (on a GPU, or with `--engine`) | hand-tuned PyTorch |
//!
//! The table goes to stdout, the same numbers to `target/bench.json`.

mod baseline;
mod decode;
mod engine;
mod pipeline;
mod ranks;
mod report;
mod steps;
mod unlearning;

use std::error::Error;
use std::path::{Path, PathBuf};

use clap::Parser;
use tch::Device;

use baseline::BaselineProcesses;
use regun::config::schema::Precision;
use regun::torch::Numerics;
use regun::train::Mixed;
use report::Row;
use steps::TimedStep;

#[derive(Debug, Parser)]
struct Options {
    /// Run only the rows with this text in their name.
    #[arg(long)]
    only: Option<String>,
    #[arg(long, default_value_t = 7)]
    rounds: usize,
    /// Steps of each program in a round.
    #[arg(long, default_value_t = 5)]
    steps: usize,
    /// CPU threads of each program.
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
    /// Also compare whole steps of the real training loop on a CPU.
    #[arg(long)]
    engine: bool,
    /// Peak speed of the device in TFLOP/s, to print the fraction of it that training reaches (dense bfloat16 of an
    /// H100: 989).
    #[arg(long)]
    peak_tflops: Option<f64>,
    /// A Python with PyTorch and torchvision.
    #[arg(long, default_value = ".venv/bin/python")]
    python: PathBuf,
    /// The folder of Tiny ImageNet, to compare the decoding of its images.
    #[arg(long)]
    images: Option<PathBuf>,
    /// Run as a rank of the comparison of rank counts.
    #[arg(long, hide = true)]
    rank: bool,
    /// `cargo bench` passes this option. It has no effect.
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

    fn baseline_arguments(&self, steps: usize, batch_size: usize) -> Vec<String> {
        vec![
            format!("--steps={steps}"),
            format!("--threads={}", self.threads),
            format!("--batch-size={batch_size}"),
            format!("--device={}", self.device),
            format!("--precision={}", self.precision),
        ]
    }

    /// The settings as text for the table.
    fn setting(&self, batch_size: usize) -> String {
        format!("batch {batch_size}, {}, {}, {} threads", self.device, self.precision, self.threads)
    }
}

/// Makes regun's step of a comparison for a batch size.
type MakeStep = fn(i64, Device, Option<Mixed>) -> regun::error::Result<TimedStep>;

/// A step of regun and the modes of `benches/baseline.py` that it is compared with.
struct Comparison {
    name: &'static str,
    make_step: MakeStep,
    /// Name of the network in the baseline script.
    model: &'static str,
    baselines: &'static [&'static str],
    /// Overrides `--batch-size`.
    batch_size: Option<usize>,
    /// Overrides `--steps`.
    steps: Option<usize>,
    /// Number of batches that one step forwards.
    batches_per_step: usize,
}

/// The settings of most rows: a step forwards one batch of ResNet-18.
const RESNET18: Comparison = Comparison {
    name: "",
    make_step: steps::train,
    model: "resnet18",
    baselines: &[],
    batch_size: None,
    steps: None,
    batches_per_step: 1,
};

const EVAL: &[&str] = &["eval", "eval-channels-last"];

const COMPARISONS: [Comparison; 6] = [
    Comparison { name: "train_step_resnet18", baselines: &["train", "train-channels-last"], ..RESNET18 },
    Comparison { name: "eval_forward_resnet18", make_step: steps::evaluate, baselines: EVAL, ..RESNET18 },
    Comparison {
        name: "eval_forward_swin_t",
        make_step: steps::evaluate_swin_t,
        model: "swin_t",
        baselines: EVAL,
        batch_size: Some(8),
        ..RESNET18
    },
    Comparison {
        name: "eval_forward_vit_b_16",
        make_step: steps::evaluate_vit_b_16,
        model: "vit_b_16",
        baselines: EVAL,
        batch_size: Some(8),
        ..RESNET18
    },
    // SSD. The batch is small because vmap needs a copy of all weights for each image of it.
    Comparison {
        name: "squared_gradients_resnet18",
        make_step: unlearning::squared_gradients,
        baselines: &["fisher-loop", "fisher-vmap"],
        batch_size: Some(16),
        steps: Some(1),
        ..RESNET18
    },
    Comparison {
        name: "regun_epoch_and_evaluation_resnet18",
        make_step: unlearning::epoch,
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
    let mixed = options.mixed().filter(|mixed| mixed.applies_to(device));
    let mut ours = (comparison.make_step)(i64::try_from(batch_size)?, device, mixed)?;
    ours.seconds(steps.min(2))?;
    let mut arguments = options.baseline_arguments(steps, batch_size);
    arguments.extend([format!("--warmup={}", steps.min(2)), format!("--model={}", comparison.model)]);
    let mut baselines = BaselineProcesses::start(&options.python, baseline::SCRIPT, comparison.baselines, &arguments);

    let programs = 1 + baselines.len();
    let mut own = Vec::with_capacity(options.rounds);
    for round in 0..options.rounds {
        for turn in 0..programs {
            match (round + turn) % programs {
                0 => own.push(ours.seconds(steps)?),
                baseline => baselines.run_round(baseline - 1),
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
    Ok(comparison.baselines.iter().zip(baselines.medians()).map(row).collect())
}
