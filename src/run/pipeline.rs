//! `regun pipeline`: references, base, retrained and the chosen methods, skipping what is there already; one table.

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::{Map, Value};

use super::session::{Options, Session};
use super::training::{exists, load_role};
use super::{base, folder, print, print_json, reference, unlearn};
use crate::config::Loaded;
use crate::error::{Error, Result};
use crate::files::write_atomic;
use crate::names;
use crate::report::{Column, json, summary};
use crate::unlearn::REGISTRY;

pub fn run(options: &Options, overrides: &[String], methods: &[String]) -> Result<()> {
    // Every method's settings are checked before the first model trains.
    let jobs = jobs(options, overrides, methods)?;
    let free = match jobs.first().filter(|_| options.world.is_root()) {
        Some((_, loaded)) => folder::first_free(&loaded.run_dir)?.to_string_lossy().into_owned(),
        None => String::new(),
    };
    let folder = std::path::PathBuf::from(options.world.broadcast_str(&free)?);
    execute(options, overrides, &jobs, &folder).inspect_err(|_| {
        if options.world.is_root() {
            // Fails where a run has left something in it, as it should.
            let _ = std::fs::remove_dir(&folder);
        }
    })
}

fn execute(options: &Options, overrides: &[String], jobs: &[(String, Loaded)], folder: &Path) -> Result<()> {
    // What the models that come before unlearning need is the same in all jobs.
    let Some((_, loaded)) = jobs.first() else { return Ok(()) };
    // Sub-runs tell their results to the table, not to standard output.
    let quiet = Options { quiet: true, ..options.clone() };
    let within = |loaded: &Loaded, name: &str| Loaded { run_dir: folder.join(name), ..loaded.clone() };
    for index in 1..=loaded.config.mul_eval.mia_num_models {
        let name = format!("reference_{index}");
        Session::from_loaded(&quiet, within(loaded, &name), "reference")?.guard(|session| {
            let path = session.names().reference(index, names::OURS);
            if exists(session, &path)? {
                let seed = session.config().seed + index as u64;
                let command = format!("regun reference --run-idx {index}");
                load_role(session, &path, &format!("reference {index}"), seed, &command)?;
                tracing::info!("reference {index}: taken from {}", path.display());
                return session.finish(Map::new(), "");
            }
            reference::execute(session, index)
        })?;
    }
    let mut columns =
        Session::from_loaded(&quiet, within(loaded, "base"), "base")?.guard(|session| base::execute(session, true))?;
    for (method, loaded) in jobs {
        columns.push(Session::from_loaded(&quiet, within(loaded, method), "unlearn")?.guard(unlearn::execute)?);
    }
    report(options, overrides, folder, jobs, &columns)
}

/// The methods and their configurations, at least one.
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
    for unlearn in jobs.iter().filter_map(|(_, loaded)| loaded.config.unlearn.as_ref()) {
        crate::unlearn::build(unlearn)?;
    }
    // Most warnings are about what the methods share.
    let warnings: BTreeSet<&String> = jobs.iter().flat_map(|(_, loaded)| &loaded.warnings).collect();
    for warning in warnings {
        tracing::warn!("{warning}");
    }
    Ok(jobs)
}

/// The table, for people or programs, where things are and what to type next.
fn report(
    options: &Options,
    overrides: &[String],
    folder: &Path,
    jobs: &[(String, Loaded)],
    columns: &[Column],
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
    let results = Value::Object(results);
    if !options.world.is_root() {
        return Ok(());
    }
    write_atomic(&folder.join("results.json"), format!("{results:#}\n").as_bytes())?;
    if options.json {
        return print_json(&results);
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
