//! How fast regun trains and evaluates, side by side with PyTorch on the same machine.
//!
//!     make bench
//!     cargo bench --bench throughput -- --device cuda --steps 50
//!
//! Every contender holds the same network (ResNet-18, CIFAR stem) and a fixed random batch, and does the same steps. In
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
    /// This process is a rank of the comparison of rank counts.
    #[arg(long, hide = true)]
    rank: bool,
    /// Given by `cargo bench`.
    #[arg(long, hide = true)]
    bench: bool,
}

/// Makes our side of a comparison.
type MakeOurs = fn(i64, Device) -> regun::error::Result<Ours>;

/// What is measured: its name, our side, and the modes of `benches/baseline.py` that it is compared with.
const COMPARISONS: [(&str, MakeOurs, [&str; 2]); 2] = [
    ("train_step_resnet18", ours::train, ["train", "train-channels-last"]),
    ("eval_forward_resnet18", ours::evaluate, ["eval", "eval-channels-last"]),
];

fn main() -> Result<(), Box<dyn Error>> {
    regun::torch::keep_freed_memory();
    let options = Options::parse();
    if options.rank {
        return Ok(ranks::train(options.batch_size, options.steps)?);
    }
    tch::set_num_threads(i32::try_from(options.threads)?);
    let mut rows = Vec::new();
    for (name, make_ours, modes) in COMPARISONS {
        rows.extend(compare(&options, name, make_ours, &modes)?);
    }
    if options.device == "cpu" {
        rows.extend(ranks::compare(options.batch_size, options.steps, options.rounds)?);
    }
    print!("{}", report::table(&rows));
    report::write_json(&rows, Path::new("target/bench.json"))?;
    Ok(())
}

/// One row for each baseline mode.
fn compare(options: &Options, name: &str, make_ours: MakeOurs, modes: &[&str]) -> Result<Vec<Row>, Box<dyn Error>> {
    let device = match options.device.as_str() {
        "cuda" => regun::torch::load_cuda().map(|()| Device::Cuda(0))?,
        _ => Device::Cpu,
    };
    let mut ours = make_ours(i64::try_from(options.batch_size)?, device)?;
    ours.seconds(2)?;
    let arguments = [
        format!("--steps={}", options.steps),
        format!("--threads={}", options.threads),
        format!("--batch-size={}", options.batch_size),
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

    let images = (options.steps * options.batch_size) as f64;
    let rates: Vec<f64> = seconds.into_iter().map(|seconds| images / report::median(seconds)).collect();
    let setting = format!("batch {}, {}, {} threads", options.batch_size, options.device, options.threads);
    let row = |(mode, &rate): (&&str, &f64)| {
        Row::faster(name, rates[0], rate, &format!("PyTorch {mode}, {setting}"), "images/s")
    };
    Ok(modes.iter().zip(&rates[1..]).map(row).collect())
}
