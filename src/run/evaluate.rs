//! `regun evaluate --checkpoint PATH`: the full evaluation of any checkpoint of this setup.

use std::path::Path;

use super::session::{Options, Session};
use super::training::{check_finite, find, model_of};
use super::{foreign, references};
use crate::checkpoint;
use crate::error::{Error, Result};
use crate::eval::privacy::over_unlearning_flags;
use crate::report::{Column, json, summary};

pub fn run(options: &Options, overrides: &[String], path: &Path) -> Result<()> {
    // The checkpoint comes first: whoever mistyped it should not wait for the data.
    let found = find(path).ok_or_else(|| Error::missing(format!("checkpoint {} does not exist", path.display())))?;
    let checkpoint = checkpoint::load(&found)?;
    Session::open(options, overrides, "evaluate")?.guard(|session| {
        foreign::check_fits(session, &checkpoint, None)?;
        let model = model_of(session, &checkpoint)?;
        check_finite(&model, &format!("checkpoint {}", found.display()))?;
        let evaluator = references::evaluator(session, None)?;
        let metrics = evaluator.evaluate(&session.world, &session.dataset, &model)?.unwrap_or_default();
        let flags = over_unlearning_flags(&metrics, evaluator.retrained_metrics());
        session.flag(flags);
        let title = checkpoint.manifest.identity.get("role").unwrap_or("model").to_owned();
        let columns = [Column { title, metrics, seconds: None }];
        session.finish(json::to_json(&columns[0].metrics), &summary(&columns))
    })
}
