//! Set-up of the process: ranks, threads, numerics, device and dtype, and the data that its runs share.
//!
//! A single command makes one set-up and one run. A pipeline makes one set-up for all its runs, so images are read,
//! hashed and uploaded once.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Once;

use serde_json::Value;
use tch::{Device, Kind};

use super::devices::choose_device;
use super::environment;
use super::options::Options;
use super::prepared_data::{DataKey, PreparedData};
use crate::config::Loaded;
use crate::config::schema::{BatchScope, Config, CudaGraphMode, Precision};
use crate::distributed::{World, process};
use crate::error::{Error, Result};
use crate::models;
use crate::torch::{Numerics, device_name, gpus};

/// Largest allowed number of threads: more than any node has cores.
const MAX_THREADS: usize = 1024;

/// Sections of the configuration that [`Setup::new`] reads.
const SECTIONS: [&str; 4] = ["data", "launch", "model", "trainer"];

/// The state of the process that all its runs share.
pub struct Setup {
    // --- configuration ---
    pub options: Options,
    /// Values of [`SECTIONS`].
    sections: Vec<Option<Value>>,
    // --- ranks and devices ---
    pub world: Rc<World>,
    /// Host name of each rank, in rank order.
    pub hosts: Vec<String>,
    /// Device of each rank, in rank order.
    pub devices: Vec<String>,
    /// Model of each rank's GPU, in rank order; `None` for a rank on the CPU.
    pub gpus: Vec<Option<String>>,
    /// Device of this rank.
    pub device: Device,
    /// Dtype of weights and images.
    pub kind: Kind,
    // --- runtime state ---
    /// The data that was prepared last.
    data: RefCell<Option<Rc<PreparedData>>>,
    /// Whether the full table of a run was logged already.
    pub has_overview: Cell<bool>,
}

impl Setup {
    /// Checks the parts of the configuration that need no data, then sets up device, threads and numerics. The counters
    /// of the ranks start at zero. A collective call.
    ///
    /// # Errors
    /// A usage error for a model, batch size, thread count or graph mode that cannot work; `Missing` without the
    /// device.
    pub fn new(options: &Options, loaded: &Loaded) -> Result<Rc<Self>> {
        let (config, world) = (&loaded.config, Rc::clone(&options.world));
        world.reset_counts();
        models::check(&config.model.model)?;
        // libtorch's numerics come before the first use of a GPU.
        apply_process_settings(config, &world)?;
        let device = choose_device(&world, config)?;
        if config.launch.trace_sums && !world.trace_all_reduces() {
            tracing::warn!(
                "launch.trace_sums=true: no all-reduce overlaps the backward pass here ({}, {} rank(s)); it takes \
                 several ranks on GPUs",
                world.backend(),
                world.size()
            );
        }
        let kind = kind(config, device);
        check_graphs(config, device)?;
        check_batch(config, &world)?;
        Ok(Rc::new(Setup {
            options: options.clone(),
            sections: sections(loaded),
            hosts: world.all_gather(&process::host())?,
            devices: world.all_gather(&device_name(device))?,
            gpus: gpu_models(&world, device)?,
            world,
            device,
            kind,
            data: RefCell::default(),
            has_overview: Cell::new(false),
        }))
    }

    /// The set-up for the next run of a pipeline: this one, or a new one if the configuration of `loaded` needs
    /// another. Its counters start at zero.
    pub fn for_run(self: Rc<Self>, loaded: &Loaded) -> Result<Rc<Self>> {
        if self.sections != sections(loaded) {
            let next = Setup::new(&self.options, loaded)?;
            next.data.replace(self.data.take());
            next.has_overview.set(self.has_overview.get());
            return Ok(next);
        }
        self.world.reset_counts();
        Ok(self)
    }

    /// The data of a configuration. It is read once and shared by all runs with equal `data` and `split` sections.
    /// A collective call.
    pub fn data(&self, loaded: &Loaded) -> Result<Rc<PreparedData>> {
        let key = DataKey::new(loaded, self.kind, self.device);
        let known = self.data.take();
        let data = match known.filter(|data| data.key == key) {
            Some(data) => data,
            None => Rc::new(PreparedData::new(key, &loaded.config, &self.world)?),
        };
        self.data.replace(Some(Rc::clone(&data)));
        Ok(data)
    }
}

/// The values of [`SECTIONS`].
fn sections(loaded: &Loaded) -> Vec<Option<Value>> {
    SECTIONS.iter().map(|name| loaded.value(name)).collect()
}

/// Dtype of weights and images.
fn kind(config: &Config, device: Device) -> Kind {
    match config.trainer.precision {
        Precision::F64 => Kind::Double,
        Precision::F32 => Kind::Float,
        Precision::Bf16Mixed | Precision::F16Mixed => {
            static LOGGED: Once = Once::new();
            if device == Device::Cpu {
                LOGGED.call_once(|| tracing::info!("mixed precision means float32 on a CPU"));
            }
            Kind::Float
        }
    }
}

/// A usage error if CUDA graphs are required and there is no GPU.
fn check_graphs(config: &Config, device: Device) -> Result<()> {
    if config.trainer.cuda_graph == CudaGraphMode::On && !device.is_cuda() {
        return Err(Error::usage("trainer.cuda_graph=true: this run computes on the CPU")
            .hint("set trainer.cuda_graph=auto, or ask for a GPU with trainer.accelerator=gpu"));
    }
    Ok(())
}

/// Sets the number of CPU threads and libtorch's numerics.
///
/// # Errors
/// A usage error for more than [`MAX_THREADS`] threads.
pub fn apply_process_settings(config: &Config, world: &World) -> Result<()> {
    let cores = process::cores();
    let threads = config.trainer.threads.unwrap_or((cores / world.local_size()).max(1));
    if threads > MAX_THREADS {
        return Err(Error::usage(format!(
            "trainer.threads={threads}: wanted at most {MAX_THREADS}; this process may use {cores} core(s)"
        )));
    }
    tch::set_num_threads(threads as i32);
    let deterministic = config.trainer.deterministic;
    if deterministic {
        let value = |name: &str| std::env::var_os(name).unwrap_or_default().to_string_lossy().into_owned();
        let variables = environment::DETERMINISTIC.map(|(name, _)| format!("{name}={}", value(name)));
        tracing::debug!("deterministic, with {}", variables.join(" "));
    }
    Numerics { deterministic, tf32: config.trainer.allow_tf32, benchmark: !deterministic }.apply()
}

/// A usage error if the global batch has fewer samples than there are ranks: some ranks would never get a sample.
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

/// Model of each rank's GPU, in rank order. A collective call.
fn gpu_models(world: &World, device: Device) -> Result<Vec<Option<String>>> {
    let mine = match device {
        Device::Cuda(index) => gpus().ok().and_then(|all| Some(all.get(index)?.name.clone())),
        _ => None,
    };
    let all = world.all_gather(&Value::from(mine).to_string())?;
    Ok(all.iter().map(|model| serde_json::from_str(model).unwrap_or_default()).collect())
}
