//! `regun pipeline`: trains references, base and retrained model, unlearns with the chosen methods, and prints one
//! table. Existing models that fit are not trained again. All runs share one set-up and its data.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use serde_json::{Map, Value};

use super::folder::{create_free_folder, write_json};
use super::options::Options;
use super::output::{print, print_json};
use super::session::Session;
use super::setup::Setup;
use super::{base, reference, unlearn};
use crate::config::Loaded;
use crate::error::{Error, Result};
use crate::pretrained;
use crate::report::{SummaryColumn, json, summary};
use crate::unlearn::{REGISTRY, build};

pub fn run(options: &Options, overrides: &[String], methods: &[String]) -> Result<()> {
    let jobs = jobs(options, overrides, methods)?;
    let Some((_, first)) = jobs.first() else { return Ok(()) };
    let free = match options.world.is_root() {
        true => create_free_folder(&first.run_dir)?.to_string_lossy().into_owned(),
        false => String::new(),
    };
    let folder = PathBuf::from(options.world.broadcast_str(&free)?);
    execute(options, &jobs, first, &folder)
        .and_then(|columns| report(options, overrides, &folder, &jobs, &columns))
        .inspect_err(|_| {
            if options.world.is_root() {
                // Fails if a run has left files in the folder: they stay.
                let _ = std::fs::remove_dir(&folder);
            }
        })
}

/// Runs all steps. `first`: configuration of the models that come before unlearning, equal in all jobs but for the
/// method.
fn execute(options: &Options, jobs: &[(String, Loaded)], first: &Loaded, folder: &Path) -> Result<Vec<SummaryColumn>> {
    // The results of the single runs go into the table, not to standard output.
    let mut setup = Setup::new(&Options { quiet: true, ..options.clone() }, first)?;
    pretrained::check(&first.config.model.model)?;
    for index in 1..=first.config.mul_eval.mia_num_models {
        let name = format!("reference_{index}");
        open(&mut setup, first, folder, &name, "reference")?
            .guard(|session| reference::execute_if_missing(session, index))?;
    }
    let base = open(&mut setup, first, folder, "base", "base")?;
    let mut columns = base.guard(|session| base::execute(session, true))?;
    for (method, loaded) in jobs {
        columns.push(open(&mut setup, loaded, folder, method, "unlearn")?.guard(unlearn::execute)?);
    }
    Ok(columns)
}

/// Starts the run `name` of the pipeline, in a folder of this name.
fn open(setup: &mut Rc<Setup>, loaded: &Loaded, folder: &Path, name: &str, command: &str) -> Result<Session> {
    *setup = Rc::clone(setup).for_run(loaded)?;
    let data = setup.data(loaded)?;
    let loaded = Loaded { run_dir: folder.join(name), ..loaded.clone() };
    Session::open(setup, &data, loaded, command)
}

/// The methods with their configurations, at least one. All settings are checked before the first model trains.
fn jobs(options: &Options, overrides: &[String], methods: &[String]) -> Result<Vec<(String, Loaded)>> {
    let mut jobs: Vec<(String, Loaded)> = Vec::new();
    let every: Vec<String> = REGISTRY.iter().map(|method| method.name.to_owned()).collect();
    let methods = if methods == ["all"] { &every } else { methods };
    for method in methods {
        if jobs.iter().any(|(known, _)| known == method) {
            return Err(Error::usage(format!("--methods names {method} twice")));
        }
        let loaded = options.load_unwarned(&[overrides, &[format!("unlearn={method}")]].concat())?;
        jobs.push((method.clone(), loaded));
    }
    if jobs.is_empty() {
        let loaded = options.load_unwarned(overrides)?;
        let Some(unlearn) = &loaded.config.unlearn else {
            return Err(Error::usage("no unlearning method is chosen")
                .hint("add unlearn=METHOD, or --methods with a comma-separated list"));
        };
        jobs.push((unlearn.name.clone(), loaded));
    }
    for chosen in jobs.iter().filter_map(|(_, loaded)| loaded.config.unlearn.as_ref()) {
        build(chosen)?;
    }
    // Most warnings are about settings that the methods share: each is logged once.
    let warnings: BTreeSet<&String> = jobs.iter().flat_map(|(_, loaded)| &loaded.warnings).collect();
    for warning in warnings {
        tracing::warn!("{warning}");
    }
    Ok(jobs)
}

/// Writes and prints the table, as text or JSON, with the folders and the next commands to type.
fn report(
    options: &Options,
    overrides: &[String],
    folder: &Path,
    jobs: &[(String, Loaded)],
    columns: &[SummaryColumn],
) -> Result<()> {
    let Some((last, loaded)) = jobs.last() else { return Ok(()) };
    let mut results = Map::new();
    for column in columns {
        let mut metrics = json::to_json(&column.metrics);
        if let Some(seconds) = column.seconds {
            metrics.insert("seconds".into(), json::number(seconds));
        }
        results.insert(column.title.clone(), Value::Object(metrics));
    }
    if !options.world.is_root() {
        return Ok(());
    }
    write_json(&folder.join("results.json"), &results)?;
    if options.json {
        return print_json(&Value::Object(results));
    }
    let cache = &loaded.config.paths.cache_dir;
    let program = std::env::args().next().unwrap_or_else(|| "regun".into());
    let overrides = overrides.join(" ");
    print(&format!(
        "\n{}\nresults and logs: {}\nmodels:           {}\n\nnext:  {program} pipeline --methods all {overrides}\n       \
         {program} evaluate --checkpoint {} {overrides}\n",
        summary(columns),
        folder.display(),
        cache.join("models").display(),
        folder.join(last).join("unlearned.safetensors").display(),
    ))
}
