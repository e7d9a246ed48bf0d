//! `regun base`: the base model (retain + forget) and the retrained one (retain only), trained and evaluated.

use serde_json::Map;

use super::references;
use super::session::{Options, Session};
use super::training::{Trained, exists, load_role, model_of, train_and_save};
use crate::data::Part;
use crate::error::Result;
use crate::eval::Evaluator;
use crate::eval::evaluator::model_logits;
use crate::models::Model;
use crate::names;
use crate::report::{Column, json, summary};

pub fn run(options: &Options, overrides: &[String]) -> Result<()> {
    Session::open(options, overrides, "base")?.guard(|session| execute(session, false).map(|_| ()))
}

/// Trains, saves and evaluates both models; with `reuse`, models that are there and fit are not trained again.
///
/// Where reference models are missing both models are still saved, what needs no references is written, and the
/// error that names the missing commands comes last.
pub fn execute(session: &mut Session, reuse: bool) -> Result<Vec<Column>> {
    let (names_of, config) = (session.names(), session.config());
    let base_path = names_of.base(names::OURS);
    let retrained_path = names_of.retrained(names::OURS);
    let seed = config.seed;
    let base = obtain(session, "base", seed, Part::Train, &base_path, reuse)?;
    let retrained = obtain(session, "retrained", seed, Part::Retain, &retrained_path, reuse)?;
    let flags = equal_layers(&base.model, &retrained.model, session.config().model.model.freeze_backbone)?;
    session.flag(flags);

    let missing = references::check_references_exist(session);
    let evaluator = match &missing {
        Ok(()) => references::evaluator(session, None)?,
        Err(_) => Evaluator::new(None, model_logits(&session.world, &session.dataset, &retrained.model)?),
    };
    let mut columns = Vec::new();
    let mut results = Map::new();
    let metrics_of_base = evaluator.evaluate(&session.world, &session.dataset, &base.model)?;
    let metrics_of_retrained = evaluator.evaluate_retrained();
    for (title, trained, metrics) in [("base", base, metrics_of_base), ("retrained", retrained, metrics_of_retrained)] {
        let Some(metrics) = metrics else { continue };
        for (key, value) in json::to_json(&metrics) {
            results.insert(format!("{title}/{key}"), value);
        }
        let seconds = (trained.seconds > 0.0).then_some(trained.seconds);
        if let Some(seconds) = seconds {
            results.insert(format!("{title}/seconds_train"), json::number(seconds));
        }
        columns.push(Column { title: title.into(), metrics, seconds });
    }
    missing.inspect_err(|_| {
        // The numbers that need no references are worth keeping; the error itself ends the run.
        if let Some(folder) = &session.folder {
            let path = folder.path().join("partial_results.json");
            let text = format!("{:#}\n", serde_json::Value::Object(results.clone()));
            if let Err(error) = crate::files::write_atomic(&path, text.as_bytes()) {
                tracing::warn!("{}", error.message());
            }
        }
    })?;
    session.finish(results, &summary(&columns))?;
    Ok(columns)
}

fn obtain(
    session: &Session,
    role: &str,
    seed: u64,
    part: Part,
    path: &std::path::Path,
    reuse: bool,
) -> Result<Trained> {
    if reuse && exists(session, path)? {
        let checkpoint = load_role(session, path, role, seed, "regun base")?;
        tracing::info!("{role}: taken from {}", checkpoint.path.display());
        return Ok(Trained { model: model_of(session, &checkpoint)?, seconds: 0.0 });
    }
    train_and_save(session, role, seed, part, path)
}

/// Trainable layers in which the two models are equal: the retrained one was then not trained from scratch.
fn equal_layers(base: &Model, retrained: &Model, frozen: bool) -> Result<Vec<String>> {
    let head = base.architecture().head();
    let mut flags = Vec::new();
    for ((slot, entry, a), (_, _, b)) in base.state.parameters().zip(retrained.state.parameters()) {
        if (!frozen || head.contains(&slot)) && a.f_equal(b)? {
            flags.push(format!("the retrained model equals the base model in {}", entry.name));
        }
    }
    Ok(flags)
}
