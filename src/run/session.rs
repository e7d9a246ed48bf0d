//! What every training command sets up: configuration, ranks, device, data, split, architecture, run folder.

use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::{Arc, Once};
use std::time::Duration;

use serde_json::{Map, Value, json};
use tch::{Device, Kind};

use super::folder::RunFolder;
use super::{devices, identity, print, print_json};
use crate::checkpoint::Facts;
use crate::config::schema::{BatchScope, Config, CudaGraphMode, Precision};
use crate::config::{self, Loaded};
use crate::data::augment::input_sizes;
use crate::data::host_dataset::count_test_images_in_train;
use crate::data::split::{self, SplitIndices};
use crate::data::{self, Dataset, DeviceDataset, LoadOptions};
use crate::digest::sha256;
use crate::distributed::{World, process};
use crate::error::{Error, Result};
use crate::models::{self, Architecture};
use crate::names::Names;
use crate::pretrained;
use crate::torch::Numerics;
use crate::{log, memory, torch};

/// What the command line says besides command and overrides, and who runs it.
#[derive(Clone)]
pub struct Options {
    pub world: Rc<World>,
    pub config_dir: Option<PathBuf>,
    pub config_name: String,
    /// The result on standard output is one JSON object.
    pub json: bool,
    /// The result is not printed at all: somebody else reports it.
    pub quiet: bool,
}

impl Options {
    /// Composes and checks the configuration, and says what it warns of.
    pub fn load(&self, overrides: &[String]) -> Result<Loaded> {
        let loaded = self.load_unwarned(overrides)?;
        for warning in &loaded.warnings {
            tracing::warn!("{warning}");
        }
        Ok(loaded)
    }

    /// As [`Options::load`], with the warnings left to the caller.
    pub fn load_unwarned(&self, overrides: &[String]) -> Result<Loaded> {
        let request = config::Request {
            config_dir: self.config_dir.as_deref(),
            config_name: &self.config_name,
            overrides,
            run_dir: None,
        };
        let loaded = config::load(&request)?;
        // The run folder's name holds the time: all ranks take that of rank 0.
        let run_dir = PathBuf::from(self.world.broadcast_str(&loaded.run_dir.to_string_lossy())?);
        let loaded = match run_dir == loaded.run_dir {
            true => loaded,
            false => config::load(&config::Request { run_dir: Some(&run_dir), ..request })?,
        };
        self.world.agree(|| start_facts(&loaded))?;
        let launch = &loaded.config.launch;
        self.world.configure(Duration::from_secs_f64(launch.timeout_seconds), launch.check_collectives);
        Ok(loaded)
    }
}

/// Commands that make models from nothing.
const TRAINING: [&str; 2] = ["reference", "base"];

pub struct Session {
    pub loaded: Loaded,
    pub world: Rc<World>,
    pub dataset: DeviceDataset,
    pub architecture: Arc<dyn Architecture>,
    /// What checkpoints of this setup have in common; role and seed come on top.
    pub identity: Facts,
    /// None on all ranks but the first.
    pub folder: Option<RunFolder>,
    /// What is suspicious about data and results: warned of, and listed in `results.json`.
    pub flags: Vec<String>,
    kind: Kind,
    device: Device,
    options: Options,
}

impl Session {
    pub fn open(options: &Options, overrides: &[String], command: &str) -> Result<Self> {
        Self::from_loaded(options, options.load(overrides)?, command)
    }

    /// From a configuration that is checked already. Everything that can be refused is refused before the run folder
    /// exists.
    pub fn from_loaded(options: &Options, loaded: Loaded, command: &str) -> Result<Self> {
        let config = &loaded.config;
        let world = Rc::clone(&options.world);
        world.reset_counts();
        models::check(&config.model.model)?;
        if TRAINING.contains(&command) {
            pretrained::check(&config.model.model)?;
        }
        let device = devices::choose_device(&world, config)?;
        if config.launch.trace_sums && !world.trace_all_reduces() {
            tracing::warn!(
                "launch.trace_sums=true: no sum runs beside the backward pass here ({}, {} rank(s)); that takes several \
                 ranks on GPUs",
                world.backend(),
                world.size()
            );
        }
        let kind = kind(config, device);
        check_graphs(config, device)?;
        set_up_process(config, &world)?;
        check_batch(config, &world)?;

        let dataset = data::obtain(&config.data, means(config, &world), &world)?;
        world.agree(|| vec![("content of the data (sha256)".into(), dataset.fingerprint.clone())])?;
        let parts = split::split(&dataset.train.labels, &config.split)?;
        for warning in &parts.warnings {
            tracing::warn!("{warning}");
        }
        if config.model.model.num_classes != dataset.num_classes as i64 {
            return Err(Error::usage(format!(
                "model.model.num_classes={}: the data set {} has {} classes (data.num_classes)",
                config.model.model.num_classes, dataset.name, dataset.num_classes
            ))
            .hint("leave model.model.num_classes out: it follows data.num_classes"));
        }
        let sizes = input_sizes(&config.data.transforms, &dataset.train);
        let architecture: Arc<dyn Architecture> = models::build_for(&config.model.model, sizes)?.into();
        let identity = identity::of_setup(config, &dataset, &parts);
        let flags = data_flags(&dataset);
        let hosts = world.all_gather(&process::host())?;
        let devices = world.all_gather(&device_name(device))?;
        let facts = run_facts(&world, &hosts, &devices, config, command, &parts);
        let device_dataset = DeviceDataset::new(&dataset, parts, &config.data, kind, device)?;
        let folder =
            world.is_root().then(|| RunFolder::create(&loaded.run_dir, &loaded.to_yaml(), facts)).transpose()?;
        if let Some(folder) = &folder {
            log::also_to(folder.open_log()?);
            tracing::info!(
                "{command}: {} on {}; {} rank(s) on {} ({}), {} thread(s) each; outputs in {}",
                config.model.model.name,
                dataset.name,
                world.size(),
                distinct(&hosts),
                world.backend(),
                tch::get_num_threads(),
                folder.path().display()
            );
        }
        let session = Session {
            world,
            dataset: device_dataset,
            architecture,
            identity,
            folder,
            flags: Vec::new(),
            kind,
            device,
            options: options.clone(),
            loaded,
        };
        Ok(session.with_flags(flags))
    }

    pub fn config(&self) -> &Config {
        &self.loaded.config
    }

    /// Element type of weights and images.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    pub fn device(&self) -> Device {
        self.device
    }

    /// Names of checkpoints and caches.
    pub fn names(&self) -> Names {
        Names::of(self.config())
    }

    /// Warns of something suspicious and remembers it for `results.json`.
    pub fn flag(&mut self, flags: impl IntoIterator<Item = String>) {
        for flag in flags {
            tracing::warn!("{flag}");
            self.flags.push(flag);
        }
    }

    fn with_flags(mut self, flags: Vec<String>) -> Self {
        self.flag(flags);
        self
    }

    /// Ends the run: `run.json`, then `results.json`, then the result on standard output.
    pub fn finish(&self, mut results: Map<String, Value>, text: &str) -> Result<()> {
        let overlap = self.world.overlap()?;
        let ranks = self.world.all_gather(
            &json!({
                "rank": self.world.rank(),
                "images": self.world.image_counts(),
                "traffic": self.world.traffic(),
                "gradient_sums": overlap,
                "peak_memory_bytes": memory::peak(),
                "gpu_memory_bytes": torch::peak_device_memory(self.device)?,
            })
            .to_string(),
        )?;
        let Some(folder) = &self.folder else { return Ok(()) };
        if let Some(overlap) = overlap.filter(|overlap| overlap.sums > 0) {
            tracing::info!(
                "gradient sums of rank 0, {} of them: {:.1} % of {:.3} s hidden beneath the backward pass",
                overlap.sums,
                100.0 * overlap.hidden_fraction(),
                overlap.seconds
            );
        }
        results.insert("flags".into(), json!(self.flags));
        let work = ranks.iter().map(|text| serde_json::from_str(text).unwrap_or_default()).collect();
        folder.note("work", Value::Array(work));
        folder.finish(&results)?;
        match &self.options {
            Options { quiet: true, .. } => Ok(()),
            Options { json: true, .. } => print_json(&Value::Object(results)),
            _ => print(text),
        }
    }

    /// Runs a recipe; an error is noted in the run folder before it goes on its way.
    pub fn guard<T>(mut self, recipe: impl FnOnce(&mut Self) -> Result<T>) -> Result<T> {
        recipe(&mut self).inspect_err(|error| {
            if let Some(Err(second)) = self.folder.as_ref().map(|folder| folder.fail(error)) {
                tracing::warn!("{}", second.message());
            }
        })
    }

    pub fn folder_path(&self) -> Option<&Path> {
        self.folder.as_ref().map(RunFolder::path)
    }
}

/// What weights and images are kept in.
fn kind(config: &Config, device: Device) -> Kind {
    match config.trainer.precision {
        Precision::F64 => Kind::Double,
        Precision::F32 => Kind::Float,
        Precision::Bf16Mixed | Precision::F16Mixed => {
            static SAID: Once = Once::new();
            if device == Device::Cpu {
                SAID.call_once(|| tracing::info!("mixed precision means float32 on a CPU"));
            }
            Kind::Float
        }
    }
}

/// An error where the user insists on CUDA graphs and there is no GPU.
fn check_graphs(config: &Config, device: Device) -> Result<()> {
    if config.trainer.cuda_graph == CudaGraphMode::On && !device.is_cuda() {
        return Err(Error::usage("trainer.cuda_graph=true: this run computes on the CPU")
            .hint("set trainer.cuda_graph=auto, or ask for a GPU with trainer.accelerator=gpu"));
    }
    Ok(())
}

/// More threads than any node has cores: starting them takes longer than the work.
const MAX_THREADS: usize = 1024;

/// Threads and libtorch's settings.
pub(super) fn set_up_process(config: &Config, world: &World) -> Result<()> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let threads = config.trainer.threads.unwrap_or((cores / world.local_size()).max(1));
    if threads > MAX_THREADS {
        return Err(Error::usage(format!(
            "trainer.threads={threads}: wanted at most {MAX_THREADS}; this process may use {cores} core(s)"
        )));
    }
    tch::set_num_threads(threads as i32);
    let deterministic = config.trainer.deterministic;
    Numerics { deterministic, tf32: config.trainer.allow_tf32, benchmark: !deterministic }.apply()
}

/// What loading the data may use: one rank of a node decodes while the others wait, so it has the threads of all.
pub(super) fn means<'a>(config: &'a Config, world: &World) -> LoadOptions<'a> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let threads = config.trainer.threads.map_or(cores, |each| (each * world.local_size()).min(cores));
    LoadOptions { cache_dir: &config.paths.cache_dir, threads }
}

fn data_flags(dataset: &Dataset) -> Vec<String> {
    match count_test_images_in_train(dataset) {
        0 => Vec::new(),
        n => vec![format!("{n} of {} test images are also training images", dataset.test.len())],
    }
}

/// Host names in the order of ranks, each once.
fn distinct(hosts: &[String]) -> String {
    let mut hosts = hosts.to_vec();
    hosts.dedup();
    hosts.join(", ")
}

/// An error where a rank could never have work.
fn check_batch(config: &Config, world: &World) -> Result<()> {
    if config.data.batch_scope == BatchScope::Global && world.size() > config.data.batch_size {
        return Err(Error::usage(format!(
            "data.batch_size={} on {} ranks: some would never have a sample",
            config.data.batch_size,
            world.size()
        ))
        .hint("start fewer ranks, raise data.batch_size, or set data.batch_scope=per_rank"));
    }
    Ok(())
}

/// What all ranks must have been started with: the program, and every configured value.
fn start_facts(loaded: &Loaded) -> Vec<(String, String)> {
    let program = std::env::current_exe().and_then(std::fs::read).map(sha256).unwrap_or_else(|error| error.to_string());
    let mut facts = vec![("program (sha256)".to_owned(), program)];
    flatten(&loaded.tree.to_json(), "", &mut facts);
    facts
}

/// The leaves of a JSON tree with their dotted paths.
fn flatten(value: &Value, path: &str, leaves: &mut Vec<(String, String)>) {
    match value {
        Value::Object(map) => {
            let prefix = if path.is_empty() { String::new() } else { format!("{path}.") };
            map.iter().for_each(|(key, value)| flatten(value, &format!("{prefix}{key}"), leaves));
        }
        leaf => leaves.push((path.to_owned(), leaf.to_string())),
    }
}

/// As in Python: `cpu`, `cuda:0`.
fn device_name(device: Device) -> String {
    match device {
        Device::Cuda(index) => format!("cuda:{index}"),
        _ => "cpu".into(),
    }
}

fn run_facts(
    world: &World,
    hosts: &[String],
    devices: &[String],
    config: &Config,
    command: &str,
    parts: &SplitIndices,
) -> Map<String, Value> {
    let facts = json!({
        "command": command,
        "arguments": std::env::args().collect::<Vec<_>>(),
        "versions": { "regun": env!("CARGO_PKG_VERSION"), "libtorch": torch::version() },
        "ranks": world.size(),
        "backend": world.backend(),
        "hosts": hosts,
        "devices": devices,
        "threads_per_rank": tch::get_num_threads(),
        "seed": config.seed,
        "split_sizes": {
            "retain": parts.retain.len(),
            "forget": parts.forget.len(),
            "heldout": parts.heldout.len(),
            "val": parts.val.len(),
            "retain_subset": parts.retain_subset.len(),
        },
    });
    match facts {
        Value::Object(facts) => facts,
        _ => Map::new(),
    }
}
