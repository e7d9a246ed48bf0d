//! `regun evaluate --checkpoint PATH`: evaluates any checkpoint that fits the configuration.

use std::path::Path;

use super::model_files::{check_finite, find_checkpoint, model_of};
use super::options::Options;
use super::references::find_baselines;
use super::session::Session;
use super::setup::Setup;
use super::{checkpoint_check, overview, results, weights};
use crate::checkpoint;
use crate::error::{Error, Result};
use crate::eval::flags::over_unlearning_flags;

pub fn run(options: &Options, overrides: &[String], path: &Path, train_references: bool) -> Result<()> {
    // The checkpoint comes first: a mistyped path is reported before the data is read.
    let found =
        find_checkpoint(path).ok_or_else(|| Error::missing(format!("checkpoint {} does not exist", path.display())))?;
    let file = checkpoint::open(&found)?;
    let loaded = options.load(overrides)?;
    let setup = Setup::new(options, &loaded)?;
    let data = setup.data(&loaded)?;
    Session::new(&setup, &data, loaded, "evaluate")?.guard(|session| {
        // Checks
        let key = session.setup.options.weights_key.as_deref();
        let checkpoint = weights::of_layout(file, key, session.architecture.layout())?;
        checkpoint_check::check_fits(&session.identity_for(&checkpoint), &session.loaded, &checkpoint, None)?;
        let model = model_of(session, &checkpoint)?;
        check_finite(&model, &format!("checkpoint {}", found.display()))?;
        let (retrained, mut references) = find_baselines(session, train_references)?;

        // Evaluation
        session.start()?;
        overview::log_evaluation(session, &format!("evaluate {}", found.display()))?;
        references.train_missing(session)?;
        let evaluator = references.evaluator(session, &retrained, None)?;
        let metrics = evaluator.evaluate(session.world(), session.dataset(), &model)?.unwrap_or_default();
        session.flag(over_unlearning_flags(&metrics, evaluator.retrained_metrics()));

        // Results
        let role = checkpoint.manifest.identity.get("role").unwrap_or("model");
        session.finish(vec![results::of_role(role, metrics)]).map(|_| ())
    })
}
