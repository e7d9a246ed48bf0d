//! One run: its configuration, data, architecture and run folder, its flags and its results.

use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;

use serde_json::{Map, Value, json};
use tch::{Device, Kind};

use super::folder::RunFolder;
use super::identity;
use super::options::Options;
use super::output::{print, print_json};
use super::prepared_data::PreparedData;
use super::setup::Setup;
use crate::checkpoint::Facts;
use crate::config::Loaded;
use crate::config::schema::Config;
use crate::data::{DeviceDataset, Part};
use crate::distributed::World;
use crate::error::{Error, Result};
use crate::models::{self, Architecture};
use crate::names::Names;
use crate::{log, memory, torch};

/// One run of a command that needs data and a model.
pub struct Session {
    // --- configuration ---
    pub loaded: Loaded,
    // --- shared with other runs of the process ---
    pub setup: Rc<Setup>,
    pub data: Rc<PreparedData>,
    // --- the model of this run ---
    pub architecture: Arc<dyn Architecture>,
    /// Facts that all checkpoints of this configuration have in common. Role and seed are added per model.
    pub identity: Facts,
    // --- results ---
    /// The run folder; `None` on all ranks but rank 0.
    pub folder: Option<RunFolder>,
    /// Warnings about data and results, which `results.json` lists.
    flags: Vec<String>,
}

impl Session {
    /// Starts a run of `command`: builds the architecture, then makes the run folder.
    ///
    /// # Errors
    /// A usage error for a number of classes or an architecture that does not fit the data; then there is no run
    /// folder.
    pub fn open(setup: &Rc<Setup>, data: &Rc<PreparedData>, loaded: Loaded, command: &str) -> Result<Self> {
        let config = &loaded.config;
        let model = &config.model.model;
        if model.num_classes != data.dataset.num_classes() as i64 {
            return Err(Error::usage(format!(
                "model.model.num_classes={}: the data set {} has {} classes (data.num_classes)",
                model.num_classes,
                data.name,
                data.dataset.num_classes()
            ))
            .hint(format!(
                "set model.model.num_classes={}: it follows data.num_classes only where the model's file gives no number",
                data.dataset.num_classes()
            )));
        }
        let architecture: Arc<dyn Architecture> = models::build_for(model, data.input_sizes)?.into();
        let folder = match setup.world.is_root() {
            true => {
                let facts = run_facts(setup, &data.dataset, config, command);
                let folder = RunFolder::create(&loaded.run_dir, &loaded.to_yaml(), facts)?;
                log::set_log_file(folder.open_log()?);
                Some(folder)
            }
            false => None,
        };
        let mut session = Session {
            setup: Rc::clone(setup),
            data: Rc::clone(data),
            identity: identity::of_setup(&data.identity, model),
            architecture,
            folder,
            flags: Vec::new(),
            loaded,
        };
        session.flag(data.flags.iter().cloned());
        Ok(session)
    }

    pub fn config(&self) -> &Config {
        &self.loaded.config
    }

    pub fn world(&self) -> &World {
        &self.setup.world
    }

    pub fn dataset(&self) -> &DeviceDataset {
        &self.data.dataset
    }

    /// Dtype of weights and images.
    pub fn kind(&self) -> Kind {
        self.setup.kind
    }

    /// Device of this rank.
    pub fn device(&self) -> Device {
        self.setup.device
    }

    /// Names of checkpoints and caches.
    pub fn names(&self) -> Names {
        Names::of(self.config())
    }

    /// Path of the run folder; `None` on all ranks but rank 0.
    pub fn folder_path(&self) -> Option<&Path> {
        self.folder.as_ref().map(RunFolder::path)
    }

    /// Logs warnings about data or results, and keeps them for `results.json`.
    pub fn flag(&mut self, flags: impl IntoIterator<Item = String>) {
        for flag in flags {
            tracing::warn!("{flag}");
            self.flags.push(flag);
        }
    }

    /// Ends the run: writes `run.json`, then `results.json`, then prints the result. A collective call.
    pub fn finish(&self, mut results: Map<String, Value>, text: &str) -> Result<()> {
        let world = self.world();
        let overlap = world.overlap()?;
        let ranks = world.all_gather(
            &json!({
                "rank": world.rank(),
                "images": world.image_counts(),
                "traffic": world.traffic(),
                "gradient_sums": overlap,
                "peak_memory_bytes": memory::peak(),
                "gpu_memory_bytes": torch::peak_device_memory(self.device())?,
            })
            .to_string(),
        )?;
        let Some(folder) = &self.folder else { return Ok(()) };
        if let Some(overlap) = overlap.filter(|overlap| overlap.all_reduces > 0) {
            tracing::info!(
                "{} all-reduces of gradients on rank 0: {:.1} % of {:.3} s overlapped the backward pass",
                overlap.all_reduces,
                100.0 * overlap.hidden_fraction(),
                overlap.seconds
            );
        }
        results.insert("flags".into(), json!(self.flags));
        let work = ranks.iter().map(|text| serde_json::from_str(text).unwrap_or_default()).collect();
        folder.add_fact("work", Value::Array(work));
        folder.finish(&results)?;
        match &self.setup.options {
            Options { quiet: true, .. } => Ok(()),
            Options { json: true, .. } => print_json(&Value::Object(results)),
            _ => print(text),
        }
    }

    /// Runs the steps of a command. If they fail, `run.json` gets the error.
    pub fn guard<T>(mut self, recipe: impl FnOnce(&mut Self) -> Result<T>) -> Result<T> {
        recipe(&mut self).inspect_err(|error| {
            if let Some(Err(second)) = self.folder.as_ref().map(|folder| folder.fail(error)) {
                tracing::warn!("{}", second.message());
            }
        })
    }
}

/// Facts of `run.json` that are known at the start.
fn run_facts(setup: &Setup, dataset: &DeviceDataset, config: &Config, command: &str) -> Map<String, Value> {
    let size = |part| dataset.indices(part).len();
    let facts = json!({
        "command": command,
        "arguments": std::env::args().collect::<Vec<_>>(),
        "versions": { "regun": env!("CARGO_PKG_VERSION"), "libtorch": torch::version() },
        "ranks": setup.world.size(),
        "backend": setup.world.backend(),
        "hosts": setup.hosts,
        "devices": setup.devices,
        "threads_per_rank": tch::get_num_threads(),
        "seed": config.seed,
        "split_sizes": {
            "retain": size(Part::Retain),
            "forget": size(Part::Forget),
            "heldout": size(Part::HeldOut),
            "val": size(Part::Val),
            "retain_subset": size(Part::RetainSubset),
        },
    });
    match facts {
        Value::Object(facts) => facts,
        _ => Map::new(),
    }
}
