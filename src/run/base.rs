//! `regun base`: trains and evaluates the base model (on retain and forget) and the retrained model (on retain alone).

use std::path::Path;

use serde_json::{Map, Value};

use super::folder::write_json;
use super::model_files::{checkpoint_exists, load_role, model_of};
use super::options::Options;
use super::references;
use super::session::Session;
use super::setup::Setup;
use super::training::{TrainedModel, train_and_save};
use crate::data::Part;
use crate::error::Result;
use crate::eval::Evaluator;
use crate::eval::evaluator::model_logits;
use crate::models::Model;
use crate::names;
use crate::pretrained;
use crate::report::{SummaryColumn, json, summary};

pub fn run(options: &Options, overrides: &[String]) -> Result<()> {
    let loaded = options.load(overrides)?;
    let setup = Setup::new(options, &loaded)?;
    pretrained::check(&loaded.config.model.model)?;
    let data = setup.data(&loaded)?;
    Session::open(&setup, &data, loaded, "base")?.guard(|session| execute(session, false).map(|_| ()))
}

/// Trains, saves and evaluates both models. With `reuse`, existing models that fit are not trained again.
///
/// # Errors
/// `Missing` without reference models: both models are saved and `partial_results.json` is written first. The error
/// names the missing commands.
pub fn execute(session: &mut Session, reuse: bool) -> Result<Vec<SummaryColumn>> {
    let (names_of, config) = (session.names(), session.config());
    let base_path = names_of.base(names::SAFETENSORS);
    let retrained_path = names_of.retrained(names::SAFETENSORS);
    let seed = config.seed;
    let base = load_or_train(session, "base", seed, Part::Train, &base_path, reuse)?;
    let retrained = load_or_train(session, "retrained", seed, Part::Retain, &retrained_path, reuse)?;
    let flags = equal_layer_flags(&base.model, &retrained.model, session.config().model.model.freeze_backbone)?;
    session.flag(flags);

    let missing = references::check_references_exist(session);
    let evaluator = match &missing {
        Ok(()) => references::evaluator(session, None)?,
        Err(_) => Evaluator::new(None, model_logits(session.world(), session.dataset(), &retrained.model)?),
    };
    let mut columns = Vec::new();
    let mut results = Map::new();
    let metrics_of_base = evaluator.evaluate(session.world(), session.dataset(), &base.model)?;
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
        columns.push(SummaryColumn { title: title.into(), metrics, seconds });
    }
    missing.inspect_err(|_| save_partial_results(session, &results))?;
    session.finish(results, &summary(&columns))?;
    Ok(columns)
}

/// Writes the metrics that need no references. A failure is only a warning, because another error ends the run.
fn save_partial_results(session: &Session, results: &Map<String, Value>) {
    let Some(folder) = session.folder_path() else { return };
    if let Err(error) = write_json(&folder.join("partial_results.json"), results) {
        tracing::warn!("{}", error.message());
    }
}

/// Loads a model if `reuse` is set and the file exists. Otherwise trains it on `part`. A collective call.
fn load_or_train(
    session: &Session,
    role: &str,
    seed: u64,
    part: Part,
    path: &Path,
    reuse: bool,
) -> Result<TrainedModel> {
    if reuse && checkpoint_exists(session, path)? {
        let checkpoint = load_role(session, path, role, seed, "regun base")?;
        tracing::info!("{role}: taken from {}", checkpoint.path.display());
        return Ok(TrainedModel { model: model_of(session, &checkpoint)?, seconds: 0.0 });
    }
    train_and_save(session, role, seed, part, path)
}

/// A flag for each trainable layer that is equal in both models: the retrained model was then not trained from scratch.
fn equal_layer_flags(base: &Model, retrained: &Model, frozen: bool) -> Result<Vec<String>> {
    let head = base.architecture().head();
    let mut flags = Vec::new();
    for ((slot, entry, a), (_, _, b)) in base.state.parameters().zip(retrained.state.parameters()) {
        if (!frozen || head.contains(&slot)) && a.f_equal(b)? {
            flags.push(format!("the retrained model equals the base model in {}", entry.name));
        }
    }
    Ok(flags)
}
