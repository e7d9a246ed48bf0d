//! Collects the facts of a run for the table at its start, and logs the table.
//!
//! The first training of a process logs the whole table. Later trainings (the other models of a pipeline) differ only
//! in role, length, optimizer and folder, so they log one line.

use tch::{Device, Kind};

use super::overview_table::{PhaseOverview, RunOverview, TrainingOverview};
use super::session::Session;
use crate::config::schema::{Config, DatasetName};
use crate::data::Part;
use crate::error::Result;
use crate::memory::HostMemory;
use crate::optim;
use crate::torch::free_device_memory;
use crate::train::graph_obstacle::HOST_DECISION;
use crate::train::{self, Method, Mixed, PhasePlan, TrainSettings};

/// Parts of the data in the order of the table.
const PARTS: [Part; 5] = [Part::Retain, Part::Forget, Part::HeldOut, Part::Val, Part::Test];

/// Logs the table for a training, or one line if this process logged a table before.
pub fn log_training(session: &Session, method: &dyn Method, settings: &TrainSettings) -> Result<()> {
    // Every rank makes the plan, so a sampler without samples is the same error on all ranks.
    let plans = train::plan(method, session.dataset(), settings)?;
    let obstacle = graph_obstacle(session, method, settings)?;
    if session.world().is_root() {
        let mut overview = run_overview(session, &settings.purpose)?;
        overview.training = Some(training_overview(session, method, settings, plans, obstacle, overview.trainable));
        overview.seed = settings.seed;
        match session.setup.has_overview.replace(true) {
            false => tracing::info!("{}", overview.table()),
            true => tracing::info!("{}", overview.line()),
        }
    }
    Ok(())
}

/// Logs the table for an evaluation without training.
pub fn log_evaluation(session: &Session, title: &str) -> Result<()> {
    if session.world().is_root() {
        let [_, input_size] = session.data.input_sizes;
        let overview = RunOverview { input_size, ..run_overview(session, title)? };
        tracing::info!("{}", overview.table());
    }
    Ok(())
}

/// The facts that do not depend on a training. Memory, threads and folders are those of this rank.
fn run_overview(session: &Session, title: &str) -> Result<RunOverview> {
    let (setup, data, config) = (&*session.setup, &*session.data, session.config());
    let layout = session.architecture.layout();
    let freeze = config.model.model.freeze_backbone;
    let trainable = layout.parameters().filter(|(slot, _)| session.architecture.is_trainable(*slot, freeze));
    Ok(RunOverview {
        title: title.to_owned(),
        model: config.model.model.name.clone(),
        parameters: layout.num_parameters(),
        trainable: trainable.map(|(_, spec)| spec.num_elements()).sum(),
        dataset: data.name.clone(),
        image_shape: data.image_shape,
        input_size: data.input_sizes[0],
        parts: PARTS.map(|part| (part.name(), data.dataset.indices(part).len())).into(),
        ranks: setup.world.size(),
        backend: setup.world.backend(),
        hosts: distinct(&setup.hosts),
        devices: distinct(&setup.devices),
        threads: tch::get_num_threads().max(1) as usize,
        precision: precision(config, setup.device, setup.kind),
        training: None,
        eval_batch_size: config.data.eval_batch_size,
        weight_bytes: bytes_of(layout.num_parameters(), setup.kind),
        image_bytes: data.image_bytes,
        images_in: match data.dataset.pixel_device() {
            Device::Cuda(_) => "GPU memory",
            _ if data.is_mapped => "host memory (a mapped file)",
            _ => "host memory",
        },
        free_host_bytes: HostMemory::now().map(|memory| memory.available),
        free_device_bytes: free_device_memory(setup.device)?,
        seed: config.seed,
        split_seed: config.split.seed,
        outputs: session.folder_path().unwrap_or(&session.loaded.run_dir).to_owned(),
        cache: config.paths.cache_dir.clone(),
        data_dir: (config.data.name != DatasetName::Digits).then(|| config.data.data_dir.clone()),
    })
}

/// The facts of a training that changes `trainable` parameters.
fn training_overview(
    session: &Session,
    method: &dyn Method,
    settings: &TrainSettings,
    plans: Vec<PhasePlan>,
    graph_obstacle: Option<String>,
    trainable: usize,
) -> TrainingOverview {
    let phases = method.phases();
    let moments = phases.iter().map(|phase| optim::num_moments(&phase.optim)).max().unwrap_or(0);
    TrainingOverview {
        batch_size: settings.batch_size,
        accumulate: settings.accumulate,
        graph_obstacle,
        gradient_bytes: if phases.is_empty() { 0 } else { bytes_of(trainable, session.kind()) },
        optimizer_bytes: bytes_of(moments * trainable, session.kind()),
        phases: phases
            .into_iter()
            .zip(plans)
            .map(|(phase, plan)| PhaseOverview { plan, optim: phase.optim, scheduler: phase.scheduler })
            .collect(),
    }
}

/// The reason why the steps of this training are not captured as CUDA graphs; `None` if they are.
fn graph_obstacle(session: &Session, method: &dyn Method, settings: &TrainSettings) -> Result<Option<String>> {
    if method.phases().is_empty() {
        return Ok(Some("the method trains no steps".into()));
    }
    let (device, kind) = (session.device(), session.kind());
    let obstacle = train::graph_obstacle(settings.cuda_graph, device, session.world(), &*session.architecture, kind)?;
    Ok(obstacle.or(method.graph_key(0, 0).is_none().then(|| HOST_DECISION.into())))
}

fn bytes_of(elements: usize, kind: Kind) -> u64 {
    (elements * kind.elt_size_in_bytes()) as u64
}

fn precision(config: &Config, device: Device, kind: Kind) -> String {
    let trainer = &config.trainer;
    let mixed = Mixed::new(trainer.precision).filter(|mixed| mixed.applies_to(device));
    let dtype = match mixed.map(|mixed| mixed.autocast.dtype) {
        Some(Kind::Half) => "float32 weights, float16 training steps with loss scaling",
        Some(_) => "float32 weights, bfloat16 training steps",
        None if kind == Kind::Double => "float64",
        None => "float32",
    };
    let tf32 = if device.is_cuda() && trainer.allow_tf32 { ", TF32 matrix products" } else { "" };
    let deterministic = if trainer.deterministic { ", deterministic" } else { "" };
    format!("{dtype}{tf32}{deterministic}")
}

/// Each text once, in the order of its first occurrence.
fn distinct(texts: &[String]) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    for text in texts {
        if !found.contains(text) {
            found.push(text.clone());
        }
    }
    found
}
