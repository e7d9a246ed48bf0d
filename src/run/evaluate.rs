//! `regun evaluate --checkpoint PATH`: evaluates any checkpoint that fits the configuration.

use std::path::Path;

use super::model_files::{check_finite, find_checkpoint, model_of};
use super::options::Options;
use super::session::Session;
use super::setup::Setup;
use super::{checkpoint_check, overview, references};
use crate::checkpoint;
use crate::error::{Error, Result};
use crate::eval::flags::over_unlearning_flags;
use crate::report::{SummaryColumn, json, summary};

pub fn run(options: &Options, overrides: &[String], path: &Path) -> Result<()> {
    // The checkpoint comes first: a mistyped path is reported before the data is read.
    let found =
        find_checkpoint(path).ok_or_else(|| Error::missing(format!("checkpoint {} does not exist", path.display())))?;
    let checkpoint = checkpoint::load(&found)?;
    let loaded = options.load(overrides)?;
    let setup = Setup::new(options, &loaded)?;
    let data = setup.data(&loaded)?;
    Session::open(&setup, &data, loaded, "evaluate")?.guard(|session| {
        overview::log_evaluation(session, &format!("evaluate {}", found.display()))?;
        checkpoint_check::check_fits(&session.identity, &session.loaded, &checkpoint, None)?;
        let model = model_of(session, &checkpoint)?;
        check_finite(&model, &format!("checkpoint {}", found.display()))?;
        let evaluator = references::evaluator(session, None)?;
        let metrics = evaluator.evaluate(session.world(), session.dataset(), &model)?.unwrap_or_default();
        session.flag(over_unlearning_flags(&metrics, evaluator.retrained_metrics()));
        let title = checkpoint.manifest.identity.get("role").unwrap_or("model").to_owned();
        let columns = [SummaryColumn { title, metrics, seconds: None }];
        session.finish(json::to_json(&columns[0].metrics), &summary(&columns))
    })
}
