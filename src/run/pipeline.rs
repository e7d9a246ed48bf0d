//! `regun pipeline`: trains references, base and retrained model, unlearns with the chosen methods, and prints one
//! table. Existing models that fit are not trained again. All runs share one set-up and its data.

use std::collections::BTreeSet;
use std::rc::Rc;

use serde_json::json;

use super::base;
use super::options::Options;
use super::references::References;
use super::session::Session;
use super::setup::Setup;
use super::unlearn;
use crate::config::{Loaded, Value};
use crate::error::{Error, Result};
use crate::pretrained;
use crate::report::{Results, summary};
use crate::unlearn::{REGISTRY, build};

/// A method with its configuration.
type Job = (String, Loaded);

pub fn run(options: &Options, overrides: &[String], methods: &[String]) -> Result<()> {
    let jobs = jobs(options, overrides, methods)?;
    let shared = shared_configuration(&jobs)?;
    let setup = Setup::new(options, &shared)?;
    pretrained::check(&shared.config.model.model)?;
    let data = setup.data(&shared)?;
    Session::new(&setup, &data, shared, "pipeline")?.guard(|session| execute(session, options, overrides, &jobs))
}

/// Runs all steps, each in a folder within that of the pipeline.
fn execute(session: &mut Session, options: &Options, overrides: &[String], jobs: &[Job]) -> Result<()> {
    // Existing models
    let mut references = References::find(session)?;
    base::check_existing(session)?;
    session.start()?;
    session.add_fact("methods", json!(jobs.iter().map(|(method, _)| method).collect::<Vec<_>>()));

    // References, base and retrained model
    references.train_missing(session)?;
    let step = session.step(&session.setup, &session.data, &session.loaded, "base", "base")?;
    let mut results = step.guard(|step| {
        step.start()?;
        base::execute(step, &references, true)
    })?;

    // Unlearning
    let mut setup = Rc::clone(&session.setup);
    for (method, loaded) in jobs {
        setup = setup.for_run(loaded)?;
        let step = session.step(&setup, &setup.data(loaded)?, loaded, method, "unlearn")?;
        results.extend(step.guard(|step| unlearn::execute(step, false))?);
    }

    // Results
    report(session, options, overrides, jobs, results)
}

/// The configuration of the models that come before unlearning, which is equal in all jobs. It has the section of the
/// method only if there is one method.
fn shared_configuration(jobs: &[Job]) -> Result<Loaded> {
    let Some((_, first)) = jobs.first() else { return Err(Error::usage("no unlearning method is chosen")) };
    let mut shared = first.clone();
    if let Value::Map(map) = &mut shared.tree.value
        && jobs.len() > 1
    {
        map.remove("unlearn");
    }
    Ok(shared)
}

/// The methods with their configurations, at least one. All settings are checked before the first model trains.
fn jobs(options: &Options, overrides: &[String], methods: &[String]) -> Result<Vec<Job>> {
    let mut jobs: Vec<Job> = Vec::new();
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
    session: &mut Session,
    options: &Options,
    overrides: &[String],
    jobs: &[Job],
    results: Results,
) -> Result<()> {
    session.keep_flags(results.flags);
    let folder = session.folder_path().unwrap_or(&session.loaded.run_dir);
    let last = jobs.last().map_or("", |(method, _)| method);
    let unlearned = folder.join(last).join("unlearned.safetensors").display().to_string();
    let text = format!(
        "\n{}\nresults and logs: {}\nmodels:           {}\n\nnext:  {}\n       {}\n",
        summary(&results.models),
        folder.display(),
        session.config().paths.cache_dir.join("models").display(),
        options.command(&["pipeline", "--methods", "all"], overrides),
        options.command(&["evaluate", "--checkpoint", &unlearned], overrides),
    );
    session.finish_with(results.models, &text)?;
    Ok(())
}
