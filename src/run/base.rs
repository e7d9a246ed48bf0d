//! `regun base`: trains and evaluates the base model (on retain and forget) and the retrained model (on retain alone).

use std::path::Path;

use super::model_files::{checkpoint_exists, load_role, model_of};
use super::options::Options;
use super::references::{References, load_retrained};
use super::results;
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
use crate::report::Results;

/// The command that makes both models.
const COMMAND: &str = "regun base";

pub fn run(options: &Options, overrides: &[String], train_references: bool) -> Result<()> {
    let loaded = options.load(overrides)?;
    let setup = Setup::new(options, &loaded)?;
    pretrained::check(&loaded.config.model.model)?;
    let data = setup.data(&loaded)?;
    Session::new(&setup, &data, loaded, "base")?.guard(|session| {
        // References. They come before the training: a long one must not end without the numbers that need them.
        let mut references = References::find(session)?;
        if !train_references {
            references.announce_missing(session);
        }
        session.start()?;
        if train_references {
            references.train_missing(session)?;
        }
        execute(session, &references, false).map(|_| ())
    })
}

/// Trains, saves and evaluates both models. With `reuse`, existing models that fit are not trained again. Without all
/// references the metrics that need them are absent.
pub fn execute(session: &mut Session, references: &References, reuse: bool) -> Result<Results> {
    // Training
    let (names_of, seed) = (session.names(), session.config().seed);
    let (base_path, retrained_path) = (names_of.base(names::SAFETENSORS), names_of.retrained(names::SAFETENSORS));
    let base = load_or_train(session, "base", seed, Part::Train, &base_path, reuse)?;
    let retrained = load_or_train(session, "retrained", seed, Part::Retain, &retrained_path, reuse)?;
    let flags = match session.config().trainer.trains() {
        true => equal_layer_flags(&base.model, &retrained.model, session.config().model.model.freeze_backbone)?,
        false => vec!["nothing is trained: trainer.max_epochs or trainer.limit_train_batches is 0".into()],
    };
    session.flag(flags);

    // Evaluation
    let evaluator = match references.missing().is_empty() {
        true => {
            let checkpoint = load_retrained(session)?;
            references.evaluator(session, &checkpoint, None)?
        }
        false => Evaluator::new(None, model_logits(session.world(), session.dataset(), &retrained.model)?),
    };
    let metrics_of_base = evaluator.evaluate(session.world(), session.dataset(), &base.model)?;
    let metrics_of_retrained = evaluator.evaluate_retrained();

    // Results
    let mut models = Vec::new();
    for (role, trained, metrics) in [("base", base, metrics_of_base), ("retrained", retrained, metrics_of_retrained)] {
        let Some(mut metrics) = metrics else { continue };
        metrics.extend((trained.seconds > 0.0).then_some(("seconds_train", trained.seconds)));
        models.push(results::of_role(role, metrics));
    }
    session.finish(models)
}

/// Checks the base and the retrained model, where they are there.
///
/// # Errors
/// `Missing` if a file is damaged or holds a model of another setup.
pub fn check_existing(session: &Session) -> Result<()> {
    let (names_of, seed) = (session.names(), session.config().seed);
    for (role, path) in
        [("base", names_of.base(names::SAFETENSORS)), ("retrained", names_of.retrained(names::SAFETENSORS))]
    {
        if checkpoint_exists(session, &path)? {
            load_role(session, &path, role, seed, COMMAND)?;
        }
    }
    Ok(())
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
        let checkpoint = load_role(session, path, role, seed, COMMAND)?;
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
