//! How fast regun trains and evaluates, side by side with PyTorch on the same machine.
//!
//!     make bench
//!     cargo bench --bench throughput -- --device cuda:0 --precision bf16-mixed --batch 1024 --steps 50 --peak-tflops 989
//!
//! Every contender holds the same network (ResNet-18, CIFAR stem) and a fixed random batch, and does the same steps. In
//! each round all of them run once, one after the other, starting with another one each time: slow changes of the
//! machine (heat, neighbours) hit all alike. The figure of a contender is images per round over the median of its
//! rounds. Training on two ranks is compared with training on one in the same way. On a GPU (or with `--engine`) whole
//! steps of the real engine, augmentation included, are compared with hand-tuned programs too. The table goes to stdout,
//! the same numbers to `target/bench.json`.

mod engine;
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
use regun::config::schema::Precision;
use regun::torch::Numerics;
use regun::train::Mixed;
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
    /// What the device could do at most, in TFLOP/s: the engine's share of it is printed (dense bfloat16 of an H100 SXM: 989).
    #[arg(long)]
    peak_tflops: Option<f64>,
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

impl Options {
    fn device(&self) -> Result<Device, Box<dyn Error>> {
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

    fn peer_arguments(&self) -> Vec<String> {
        vec![
            format!("--steps={}", self.steps),
            format!("--threads={}", self.threads),
            format!("--batch-size={}", self.batch_size),
            format!("--device={}", self.device),
            format!("--precision={}", self.precision),
        ]
    }

    /// For the table.
    fn setting(&self) -> String {
        format!("batch {}, {}, {}, {} threads", self.batch_size, self.device, self.precision, self.threads)
    }
}

/// Makes our side of a comparison.
type MakeOurs = fn(i64, Device, Option<Mixed>) -> regun::error::Result<Ours>;

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
    Numerics { deterministic: false, tf32: true, benchmark: true }.apply()?;
    let mut rows = Vec::new();
    for (name, make_ours, modes) in COMPARISONS {
        rows.extend(compare(&options, name, make_ours, &modes)?);
    }
    let device = options.device()?;
    if options.engine || device.is_cuda() {
        rows.extend(engine::compare(&options, device)?);
    }
    if device == Device::Cpu {
        rows.extend(ranks::compare(options.batch_size, options.steps, options.rounds)?);
    }
    print!("{}", report::table(&rows));
    report::write_json(&rows, Path::new("target/bench.json"))?;
    Ok(())
}

/// One row for each baseline mode.
fn compare(options: &Options, name: &str, make_ours: MakeOurs, modes: &[&str]) -> Result<Vec<Row>, Box<dyn Error>> {
    let device = options.device()?;
    let mixed = options.mixed().filter(|mixed| mixed.is_for(device));
    let mut ours = make_ours(i64::try_from(options.batch_size)?, device, mixed)?;
    ours.seconds(2)?;
    let arguments = options.peer_arguments();
    let start = |mode: &&str| Peer::start(&options.python, "benches/baseline.py", mode, &arguments);
    let mut peers = modes.iter().map(start).collect::<Result<Vec<_>, _>>()?;

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
    let setting = options.setting();
    let row = |(mode, &rate): (&&str, &f64)| {
        Row::faster(name, rates[0], rate, &format!("PyTorch {mode}, {setting}"), "images/s")
    };
    Ok(modes.iter().zip(&rates[1..]).map(row).collect())
}
