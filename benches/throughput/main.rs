//! How fast regun trains and evaluates, side by side with PyTorch on the same machine.
//!
//!     make bench
//!     cargo bench --bench throughput -- --device cuda --steps 50
//!
//! Every contender holds the same network (ResNet-18 with the CIFAR stem, or torchvision's Swin-T or ViT-B/16 on images
//! of 224 pixels) and a fixed random batch, and does the same steps. In
//! each round all of them run once, one after the other, starting with another one each time: slow changes of the
//! machine (heat, neighbours) hit all alike. The figure of a contender is images per round over the median of its
//! rounds. Training on two ranks is compared with training on one in the same way. The table goes to stdout, the same numbers to `target/bench.json`.

mod ours;
mod peer;
mod ranks;
mod report;

use std::error::Error;
use std::path::{Path, PathBuf};

use clap::Parser;
use tch::Device;

use ours::Ours;
use peer::Peer;
use report::Row;

#[derive(Debug, Parser)]
struct Options {
    #[arg(long, default_value_t = 7)]
    rounds: usize,
    /// Steps of a contender in each round.
    #[arg(long, default_value_t = 5)]
    steps: usize,
    /// CPU threads of a contender.
    #[arg(long, default_value_t = 2)]
    threads: usize,
    #[arg(long, default_value_t = 128)]
    batch_size: usize,
    #[arg(long, default_value = "cpu", value_parser = ["cpu", "cuda"])]
    device: String,
    /// A Python with PyTorch.
    #[arg(long, default_value = ".venv/bin/python")]
    python: PathBuf,
    /// Only what has this in its name.
    #[arg(long, default_value = "")]
    only: String,
    /// This process is a rank of the comparison of rank counts.
    #[arg(long, hide = true)]
    rank: bool,
    /// Given by `cargo bench`.
    #[arg(long, hide = true)]
    bench: bool,
}

/// Makes our side of a comparison.
type MakeOurs = fn(i64, Device) -> regun::error::Result<Ours>;

/// What is measured.
struct Comparison {
    name: &'static str,
    ours: MakeOurs,
    /// Of `benches/baseline.py`: the network, and the modes that ours is compared with.
    model: &'static str,
    modes: [&'static str; 2],
    /// Images of a batch are fewer by this factor.
    fewer: usize,
}

const TRAIN: [&str; 2] = ["train", "train-channels-last"];
const EVAL: [&str; 2] = ["eval", "eval-channels-last"];

const COMPARISONS: [Comparison; 4] = [
    Comparison { name: "train_step_resnet18", ours: ours::train, model: "resnet18", modes: TRAIN, fewer: 1 },
    Comparison { name: "eval_forward_resnet18", ours: ours::evaluate, model: "resnet18", modes: EVAL, fewer: 1 },
    Comparison { name: "eval_forward_swin_t", ours: ours::evaluate_swin_t, model: "swin_t", modes: EVAL, fewer: 16 },
    Comparison {
        name: "eval_forward_vit_b_16",
        ours: ours::evaluate_vit_b_16,
        model: "vit_b_16",
        modes: EVAL,
        fewer: 16,
    },
];

fn main() -> Result<(), Box<dyn Error>> {
    regun::torch::keep_freed_memory();
    let options = Options::parse();
    if options.rank {
        return Ok(ranks::train(options.batch_size, options.steps)?);
    }
    tch::set_num_threads(i32::try_from(options.threads)?);
    let mut rows = Vec::new();
    for comparison in COMPARISONS.iter().filter(|comparison| comparison.name.contains(&options.only)) {
        rows.extend(compare(&options, comparison)?);
    }
    if options.device == "cpu" && ranks::NAME.contains(&options.only) {
        rows.extend(ranks::compare(options.batch_size, options.steps, options.rounds)?);
    }
    print!("{}", report::table(&rows));
    report::write_json(&rows, Path::new("target/bench.json"))?;
    Ok(())
}

/// One row for each baseline mode.
fn compare(options: &Options, comparison: &Comparison) -> Result<Vec<Row>, Box<dyn Error>> {
    let &Comparison { name, ours, model, ref modes, fewer } = comparison;
    let batch_size = (options.batch_size / fewer).max(1);
    let device = if options.device == "cuda" { Device::Cuda(0) } else { Device::Cpu };
    let mut ours = ours(i64::try_from(batch_size)?, device)?;
    ours.seconds(2)?;
    let arguments = [
        format!("--steps={}", options.steps),
        format!("--threads={}", options.threads),
        format!("--batch-size={batch_size}"),
        format!("--model={model}"),
        format!("--device={}", options.device),
    ];
    let mut peers =
        modes.iter().map(|mode| Peer::start(&options.python, mode, &arguments)).collect::<Result<Vec<_>, _>>()?;

    let contenders = 1 + peers.len();
    let mut seconds = vec![Vec::with_capacity(options.rounds); contenders];
    for round in 0..options.rounds {
        for turn in 0..contenders {
            let contender = (round + turn) % contenders;
            seconds[contender].push(match contender {
                0 => ours.seconds(options.steps)?,
                peer => peers[peer - 1].seconds()?,
            });
        }
        eprintln!("{name}: round {} of {}", round + 1, options.rounds);
    }

    let images = (options.steps * batch_size) as f64;
    let rates: Vec<f64> = seconds.into_iter().map(|seconds| images / report::median(seconds)).collect();
    let setting = format!("batch {batch_size}, {}, {} threads", options.device, options.threads);
    let row = |(mode, &rate): (&&str, &f64)| {
        Row::faster(name, rates[0], rate, &format!("PyTorch {mode}, {setting}"), "images/s")
    };
    Ok(modes.iter().zip(&rates[1..]).map(row).collect())
}
