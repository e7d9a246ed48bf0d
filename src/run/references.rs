//! Reference models and retrained baseline: from their checkpoints to an [`Evaluator`].

use std::path::PathBuf;
use std::rc::Rc;

use super::model_files::{checkpoint_exists, load_role, model_of, provenance_flag};
use super::reference;
use super::session::Session;
use crate::checkpoint::{Checkpoint, Facts};
use crate::config::schema::BatchLimit;
use crate::data::Part;
use crate::error::{Error, Result};
use crate::eval::evaluator::model_logits;
use crate::eval::{Evaluator, ReferenceProbabilities, collect};
use crate::names::{self, Names};

/// Metrics that need reference models, as patterns of their names.
const METRICS: &str = "rmia_*, average_gap*";

/// Reads the retrained model and the reference models, before anything is trained. A collective call.
///
/// # Errors
/// `Missing` if a model is missing, damaged or of another setup. Missing reference models are no error if they are to be
/// trained.
pub fn find_baselines(session: &Session, train_references: bool) -> Result<(Checkpoint, References)> {
    let references = References::find(session)?;
    if !train_references {
        references.require_all(session)?;
    }
    Ok((load_retrained(session)?, references))
}

/// Reads the retrained model.
///
/// # Errors
/// The errors of [`load_role`].
pub fn load_retrained(session: &Session) -> Result<Checkpoint> {
    let path = session.names().preferred_path(&session.config().run.retrain_weights, Names::retrained);
    load_role(session, &path, "retrained", session.config().seed, "regun base")
}

/// The reference models of a configuration.
pub struct References {
    /// The checkpoints of model 1, 2, ...; `None` for a missing one.
    checkpoints: Vec<Option<Checkpoint>>,
}

impl References {
    /// Reads the reference models that are there. A collective call: a model is there if rank 0 finds its file.
    ///
    /// # Errors
    /// `Missing` if a file is damaged or holds a model of another setup.
    pub fn find(session: &Session) -> Result<Self> {
        let find = |index| match checkpoint_exists(session, &reference::path_of(session, index))? {
            true => reference::load(session, index).map(Some),
            false => Ok(None),
        };
        let checkpoints = (1..=session.config().mul_eval.mia_num_models).map(find).collect::<Result<_>>()?;
        Ok(References { checkpoints })
    }

    /// Numbers of the missing models.
    pub fn missing(&self) -> Vec<usize> {
        let numbered = self.checkpoints.iter().zip(1..);
        numbered.filter(|(checkpoint, _)| checkpoint.is_none()).map(|(_, index)| index).collect()
    }

    /// Checks that no model is missing.
    ///
    /// # Errors
    /// `Missing`; the hint names the command for each missing model.
    pub fn require_all(&self, session: &Session) -> Result<()> {
        let missing = self.missing();
        let Some(first) = missing.first() else { return Ok(()) };
        let path = reference::path_of(session, *first);
        Err(Error::missing(format!(
            "{} of {} reference models are missing, the first is {}",
            missing.len(),
            self.checkpoints.len(),
            path.display()
        ))
        .hint(format!(
            "--references trains them first; or make them with the same overrides: {}",
            commands(&missing).join(" && ")
        )))
    }

    /// Says which metrics will be absent if models are missing, and keeps a flag for the results.
    pub fn announce_missing(&self, session: &mut Session) {
        let missing = self.missing();
        if missing.is_empty() {
            return;
        }
        let flag =
            format!("{} of {} reference models are missing: no {METRICS}", missing.len(), self.checkpoints.len());
        // Not a warning: this is the ordinary first run on a fresh cache.
        tracing::info!(
            "{flag} in the results; --references trains them first, or: {} (with the same overrides)",
            commands(&missing).join(" && ")
        );
        session.keep_flags([flag]);
    }

    /// Trains the missing models, each as a step of this run. A collective call.
    pub fn train_missing(&mut self, session: &Session) -> Result<()> {
        for index in self.missing() {
            let name = format!("reference_{index}");
            let step = session.step(&session.setup, &session.data, &session.loaded, &name, "reference")?;
            step.guard(|step| reference::execute(step, index))?;
            self.checkpoints[index - 1] = Some(reference::load(session, index)?);
        }
        session.world().reset_counts();
        Ok(())
    }

    /// The evaluator with these models and the retrained one, from its cache file or by running them. A collective call.
    ///
    /// Flags reference models that were trained with other settings than the retrained model. Flags `base`, the model
    /// to unlearn, in the same way if it is given.
    ///
    /// # Errors
    /// The error of [`require_all`](Self::require_all).
    pub fn evaluator(
        &self,
        session: &mut Session,
        retrained: &Checkpoint,
        base: Option<&Checkpoint>,
    ) -> Result<Evaluator> {
        self.require_all(session)?;
        let references: Vec<&Checkpoint> = self.checkpoints.iter().flatten().collect();
        let mut flags = Vec::new();
        for (index, checkpoint) in references.iter().enumerate() {
            let name = reference::role_of(index + 1);
            flags.extend(provenance_flag((&name, checkpoint), ("the retrained model", retrained)));
        }
        if let Some(base) = base {
            flags.extend(provenance_flag(("the base model", base), ("the retrained model", retrained)));
        }
        session.flag(flags);

        let key = cache_key(session, retrained, &references);
        let path = cache_path(session);
        let world = Rc::clone(&session.setup.world);
        // Only rank 0 reads the cache, but all ranks must take the same branch.
        let cached = if world.is_root() { Evaluator::read_cache(&path, &key, session.dataset()) } else { None };
        if world.broadcast_bool(cached.is_some())? {
            return Ok(cached.unwrap_or_default());
        }
        let evaluator = compute(session, retrained, &references)?;
        if world.is_root() {
            evaluator.write_cache(&path, &key);
        }
        Ok(evaluator)
    }
}

/// The commands that train the reference models with these numbers.
fn commands(indices: &[usize]) -> Vec<String> {
    indices.iter().map(|&index| reference::command_of(index)).collect()
}

/// All facts that the cached outputs of references and retrained model depend on.
fn cache_key(session: &Session, retrained: &Checkpoint, references: &[&Checkpoint]) -> Facts {
    let mut key = session
        .identity
        .clone()
        .with("evaluation batch", session.dataset().eval_batch_size())
        .with("precision", format!("{:?}", session.kind()))
        .with("retrained (sha256)", &retrained.checksum);
    // Only where it is limited, so that caches of earlier versions stay valid.
    if session.config().trainer.limit_test_batches != BatchLimit::ALL {
        key = key.with("test images", session.dataset().indices(Part::Test).len());
    }
    for (index, reference) in references.iter().enumerate() {
        key = key.with(&format!("reference {:03} (sha256)", index + 1), &reference.checksum);
    }
    key
}

fn cache_path(session: &Session) -> PathBuf {
    names::safetensors_path(&session.config().mul_eval.cache)
}

/// Runs the reference models and the retrained model on the data. A collective call; rank 0 gets the outputs.
fn compute(session: &Session, retrained: &Checkpoint, references: &[&Checkpoint]) -> Result<Evaluator> {
    let (world, dataset) = (session.world(), session.dataset());
    let mut probabilities = ReferenceProbabilities { forget: Vec::new(), val: Vec::new(), test: Vec::new() };
    for reference in references {
        let model = model_of(session, reference)?;
        let parts = [Part::Forget, Part::Val, Part::Test];
        if let Some([forget, val, test]) = collect::logits(world, dataset, &model, parts)? {
            probabilities.forget.push(forget.label_probabilities());
            probabilities.val.push(val.label_probabilities());
            probabilities.test.push(test.label_probabilities());
        }
    }
    let retrained = model_logits(world, dataset, &model_of(session, retrained)?)?;
    Ok(if world.is_root() { Evaluator::new(Some(probabilities), retrained) } else { Evaluator::default() })
}
