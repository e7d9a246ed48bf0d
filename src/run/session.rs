//! One run: its configuration, data, architecture and run folder, its flags and its results.

use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;

use serde_json::Value;
use tch::{Device, Kind};

use super::folder::RunFolder;
use super::options::Options;
use super::output::{print, print_json};
use super::prepared_data::PreparedData;
use super::setup::Setup;
use super::{identity, run_facts};
use crate::checkpoint::{Checkpoint, Facts};
use crate::config::Loaded;
use crate::config::schema::Config;
use crate::data::DeviceDataset;
use crate::distributed::World;
use crate::error::{Error, Result};
use crate::log;
use crate::models::{self, Architecture};
use crate::names::Names;
use crate::report::{ModelResult, Results, summary};

/// One run of a command that needs data and a model.
pub struct Session {
    // --- configuration ---
    pub loaded: Loaded,
    /// Name of the command.
    command: &'static str,
    /// Whether this run is a step of another command, which prints the results.
    is_step: bool,
    // --- shared with other runs of the process ---
    pub setup: Rc<Setup>,
    pub data: Rc<PreparedData>,
    // --- the model of this run ---
    pub architecture: Arc<dyn Architecture>,
    /// Facts that all checkpoints of this configuration have in common. Role and seed are added per model.
    pub identity: Facts,
    // --- results ---
    /// The run folder, from [`start`](Self::start) on; `None` on all ranks but rank 0.
    pub folder: Option<RunFolder>,
    /// Warnings about data and results, which `results.json` lists.
    flags: Vec<String>,
}

impl Session {
    /// Prepares a run of `command` and builds its architecture. There is no run folder before [`start`](Self::start).
    ///
    /// # Errors
    /// A usage error for a number of classes or an architecture that does not fit the data; `Missing` without test
    /// images, which only `reference` can do without.
    pub fn new(setup: &Rc<Setup>, data: &Rc<PreparedData>, loaded: Loaded, command: &'static str) -> Result<Self> {
        match command {
            "reference" => data.log_missing_test(),
            _ => data.require_test()?,
        }
        let mut session = Session::build(setup, data, loaded, command)?;
        session.flag(data.flags.iter().cloned());
        Ok(session)
    }

    fn build(setup: &Rc<Setup>, data: &Rc<PreparedData>, loaded: Loaded, command: &'static str) -> Result<Self> {
        let model = &loaded.config.model.model;
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
        Ok(Session {
            setup: Rc::clone(setup),
            data: Rc::clone(data),
            identity: identity::of_setup(&data.identity, model),
            architecture: models::build_for(model, data.input_sizes)?.into(),
            command,
            is_step: false,
            folder: None,
            flags: Vec::new(),
            loaded,
        })
    }

    /// Prepares a step of this run: a run of `command` in the folder `name` within its folder.
    pub fn step(
        &self,
        setup: &Rc<Setup>,
        data: &Rc<PreparedData>,
        loaded: &Loaded,
        name: &str,
        command: &'static str,
    ) -> Result<Self> {
        let run_dir = self.folder_path().unwrap_or(&self.loaded.run_dir).join(name);
        let loaded = Loaded { run_dir, ..loaded.clone() };
        // The warnings about the data are in the log of this run.
        Ok(Session { is_step: true, flags: data.flags.clone(), ..Session::build(setup, data, loaded, command)? })
    }

    /// Makes the run folder. Call it when everything is checked and the work begins: what fails before leaves no folder.
    /// The counters of this rank start at zero.
    pub fn start(&mut self) -> Result<()> {
        self.world().reset_counts();
        if !self.world().is_root() {
            return Ok(());
        }
        let facts = run_facts::at_start(&self.setup, self.dataset(), self.config(), self.command);
        let folder = RunFolder::create(&self.loaded.run_dir, &self.loaded.to_yaml(), facts)?;
        match self.is_step {
            true => log::set_step_log_file(folder.open_log()?),
            false => log::set_log_file(folder.open_log()?),
        }
        self.folder = Some(folder);
        Ok(())
    }

    /// The identity that `checkpoint` must have. A model that was trained while there were no test images has seen the
    /// same training images.
    pub fn identity_for(&self, checkpoint: &Checkpoint) -> Facts {
        let without_test = self.data.content_without_test.as_str();
        match checkpoint.manifest.identity.get(identity::CONTENT) {
            Some(content) if content == without_test => self.identity.clone().with(identity::CONTENT, content),
            _ => self.identity.clone(),
        }
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

    /// Path of the run folder; `None` before [`start`](Self::start), and on all ranks but rank 0.
    pub fn folder_path(&self) -> Option<&Path> {
        self.folder.as_ref().map(RunFolder::path)
    }

    /// Adds a fact to `run.json`.
    pub fn add_fact(&self, key: &str, value: Value) {
        if let Some(folder) = &self.folder {
            folder.add_fact(key, value);
        }
    }

    /// Logs warnings about data or results, and keeps them for `results.json`.
    pub fn flag(&mut self, flags: impl IntoIterator<Item = String>) {
        for flag in flags {
            tracing::warn!("{flag}");
            self.flags.push(flag);
        }
    }

    /// Keeps flags for `results.json` that the log has already.
    pub fn keep_flags(&mut self, flags: impl IntoIterator<Item = String>) {
        for flag in flags {
            if !self.flags.contains(&flag) {
                self.flags.push(flag);
            }
        }
    }

    /// Ends the run: writes `run.json`, then `results.json`, then prints the table of `models`, or JSON. A collective
    /// call.
    pub fn finish(&mut self, models: Vec<ModelResult>) -> Result<Results> {
        let table = summary(&models);
        self.finish_with(models, &table)
    }

    /// Like [`finish`](Self::finish), with `text` in place of the table.
    pub fn finish_with(&mut self, models: Vec<ModelResult>, text: &str) -> Result<Results> {
        let work = run_facts::work(&self.setup)?;
        let results = Results { models, flags: std::mem::take(&mut self.flags) };
        let Some(folder) = &self.folder else { return Ok(results) };
        let object = results.to_json();
        folder.add_fact("work", work);
        folder.finish(&object)?;
        match &self.setup.options {
            _ if self.is_step => log::end_step_log_file(),
            Options { json: true, .. } => print_json(&Value::Object(object))?,
            _ => print(text)?,
        }
        Ok(results)
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
