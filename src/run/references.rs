//! Reference models and retrained baseline: from their checkpoints to an [`Evaluator`].

use std::path::PathBuf;

use super::model_files::{checkpoint_exists, load_role, model_of, provenance_flag};
use super::reference;
use super::session::Session;
use crate::checkpoint::{Checkpoint, Facts};
use crate::data::Part;
use crate::error::{Error, Result};
use crate::eval::evaluator::model_logits;
use crate::eval::{Evaluator, ReferenceProbabilities, collect};
use crate::names::{self, Names};

/// The evaluator of this configuration, from its cache file or else from the checkpoints. A collective call.
///
/// Flags reference models that were trained with other settings than the retrained model. Flags `base`, the model to
/// unlearn, in the same way if it is given.
///
/// # Errors
/// `Missing` if a checkpoint is missing or does not fit, even if the cache exists.
pub fn evaluator(session: &mut Session, base: Option<&Checkpoint>) -> Result<Evaluator> {
    let retrained_path = session.names().preferred_path(&session.config().run.retrain_weights, Names::retrained);
    check_references_exist(session)?;
    let seed = session.config().seed;
    let retrained = load_role(session, &retrained_path, "retrained", seed, "regun base")?;
    let references = (1..=session.config().mul_eval.mia_num_models)
        .map(|index| reference::load(session, index))
        .collect::<Result<Vec<_>>>()?;
    let mut flags = Vec::new();
    for (index, checkpoint) in references.iter().enumerate() {
        let name = reference::role_of(index + 1);
        flags.extend(provenance_flag((&name, checkpoint), ("the retrained model", &retrained)));
    }
    if let Some(base) = base {
        flags.extend(provenance_flag(("the base model", base), ("the retrained model", &retrained)));
    }
    session.flag(flags);

    let key = cache_key(session, &retrained, &references);
    let path = cache_path(session);
    let world = session.world();
    // Only rank 0 reads the cache, but all ranks must take the same branch.
    let cached = if world.is_root() { Evaluator::read_cache(&path, &key, session.dataset()) } else { None };
    if world.broadcast_bool(cached.is_some())? {
        return Ok(cached.unwrap_or_default());
    }
    let evaluator = compute(session, &retrained, &references)?;
    if world.is_root() {
        evaluator.write_cache(&path, &key);
    }
    Ok(evaluator)
}

/// Checks that rank 0 finds the checkpoints of all reference models. A collective call.
///
/// # Errors
/// `Missing`; the hint names the command for each missing model.
pub fn check_references_exist(session: &Session) -> Result<()> {
    let mut missing = Vec::new();
    for index in 1..=session.config().mul_eval.mia_num_models {
        if !checkpoint_exists(session, &reference::path_of(session, index))? {
            missing.push(index);
        }
    }
    if missing.is_empty() {
        return Ok(());
    }
    let commands: Vec<String> = missing.iter().map(|&index| reference::command_of(index)).collect();
    Err(Error::missing(format!(
        "{} of {} reference models are missing, the first is {}",
        missing.len(),
        session.config().mul_eval.mia_num_models,
        reference::path_of(session, missing[0]).display()
    ))
    .hint(format!("make them with the same overrides: {}", commands.join(" && "))))
}

/// All facts that the cached outputs of references and retrained model depend on.
fn cache_key(session: &Session, retrained: &Checkpoint, references: &[Checkpoint]) -> Facts {
    let mut key = session
        .identity
        .clone()
        .with("evaluation batch", session.dataset().eval_batch_size())
        .with("precision", format!("{:?}", session.kind()))
        .with("retrained (sha256)", &retrained.checksum);
    for (index, reference) in references.iter().enumerate() {
        key = key.with(&format!("reference {:03} (sha256)", index + 1), &reference.checksum);
    }
    key
}

fn cache_path(session: &Session) -> PathBuf {
    session.config().mul_eval.cache.with_extension(names::SAFETENSORS)
}

/// Runs the reference models and the retrained model on the data. A collective call; rank 0 gets the outputs.
fn compute(session: &Session, retrained: &Checkpoint, references: &[Checkpoint]) -> Result<Evaluator> {
    let (world, dataset) = (session.world(), session.dataset());
    let mut probabilities = ReferenceProbabilities { forget: Vec::new(), val: Vec::new(), test: Vec::new() };
    for reference in references {
        let model = model_of(session, reference)?;
        let models_of_part = [
            (Part::Forget, &mut probabilities.forget),
            (Part::Val, &mut probabilities.val),
            (Part::Test, &mut probabilities.test),
        ];
        for (part, models) in models_of_part {
            if let Some(logits) = collect::logits(world, dataset, &model, part)? {
                models.push(logits.label_probabilities());
            }
        }
    }
    let retrained = model_logits(world, dataset, &model_of(session, retrained)?)?;
    Ok(if world.is_root() { Evaluator::new(Some(probabilities), retrained) } else { Evaluator::default() })
}
