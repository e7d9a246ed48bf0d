//! `regun unlearn`: makes the base model forget, and compares it with the retrained model.

use std::path::PathBuf;
use std::time::Instant;

use super::identity;
use super::model_files::{check_finite, find_role, load_role, model_of, save_model};
use super::options::Options;
use super::overview;
use super::references::find_baselines;
use super::results;
use super::session::Session;
use super::setup::Setup;
use super::training::{self, TrainingOutcome};
use crate::checkpoint::Checkpoint;
use crate::config::schema::{Config, UnlearnConfig};
use crate::error::{Error, Result};
use crate::eval::flags::over_unlearning_flags;
use crate::eval::{Evaluator, Metrics};
use crate::memory;
use crate::models::Model;
use crate::names::Names;
use crate::report::Results;
use crate::torch::peak_device_memory;
use crate::train::{self, Method, TrainSettings};
use crate::unlearn;

/// The command that makes the base model.
const BASE_COMMAND: &str = "regun base";

pub fn run(options: &Options, overrides: &[String], train_references: bool) -> Result<()> {
    let loaded = options.load(overrides)?;
    unlearn::build(chosen(&loaded.config)?)?; // an unknown or misconfigured method is refused before any work
    find_role(&base_path(&loaded.config), "base", BASE_COMMAND)?; // and a missing base model before data are downloaded
    let setup = Setup::new(options, &loaded)?;
    let data = setup.data(&loaded)?;
    Session::new(&setup, &data, loaded, "unlearn")?.guard(|session| execute(session, train_references).map(|_| ()))
}

/// Path of the base model.
fn base_path(config: &Config) -> PathBuf {
    Names::of(config).preferred_path(&config.run.base_weights, Names::base)
}

/// Configuration of the chosen method.
fn chosen(config: &Config) -> Result<&UnlearnConfig> {
    config.unlearn.as_ref().ok_or_else(|| {
        let names: Vec<&str> = unlearn::REGISTRY.iter().map(|method| method.name).collect();
        Error::usage("no unlearning method is chosen").hint(format!("add unlearn=METHOD, one of {}", names.join(", ")))
    })
}

/// Unlearns with the configured method, saves and evaluates the model.
pub fn execute(session: &mut Session, train_references: bool) -> Result<Results> {
    // Configuration
    let config = session.config().clone();
    let chosen = chosen(&config)?;
    let role = format!("unlearn/{}", chosen.name);

    // Model
    let base = load_role(session, &base_path(&config), "base", config.seed, BASE_COMMAND)?;
    let mut model = model_of(session, &base)?;
    check_finite(&model, "the base model")?;

    // Method
    let mut method = unlearn::build(chosen)?;
    let settings = TrainSettings::new(&config, session.world(), &role, config.seed);
    train::plan(&*method, session.dataset(), &settings)?; // refuses a part without samples

    // References and retrained baseline. They come before the training, so a missing one is reported at once.
    let (retrained, mut references) = find_baselines(session, train_references)?;
    session.start()?;
    overview::log_training(session, &*method, &settings)?;
    references.train_missing(session)?;
    let evaluator = references.evaluator(session, &retrained, Some(&base))?;

    // Training
    let evaluation = |model: &Model| evaluator.evaluate(session.world(), session.dataset(), model);
    let each_epoch = chosen.evaluate_each_epoch.then(|| Box::new(evaluation) as _);
    let outcome = training::train(session, &mut model, &mut *method, settings, each_epoch)?;
    check_finite(&model, &format!("the unlearned model ({})", chosen.name))?;
    save_unlearned(session, &model, &role, &base, &*method)?;

    // Evaluation
    let metrics = evaluate(session, &evaluator, &model, outcome)?;
    let mut flags = over_unlearning_flags(&metrics, evaluator.retrained_metrics());
    flags.extend(unchanged_weights_flag(&base, &model)?);
    session.flag(flags);

    // Results
    session.finish(vec![results::of_role(&role, metrics)])
}

/// Saves the unlearned model in the run folder. Its identity names the base model.
fn save_unlearned(session: &Session, model: &Model, role: &str, base: &Checkpoint, method: &dyn Method) -> Result<()> {
    let Some(folder) = session.folder_path() else { return Ok(()) };
    let identity = identity::of_role(&session.identity, role, session.config().seed);
    let identity = identity.with("base (sha256)", &base.checksum);
    let epochs = method.phases().iter().map(|phase| phase.epochs).sum();
    let provenance = identity::provenance(&session.loaded);
    save_model(session, model, identity, provenance, epochs, &folder.join("unlearned.safetensors"))
}

/// Metrics of the unlearned model, followed by the costs of unlearning. The evaluation after the last epoch, if there
/// was one, is not repeated. A collective call; ranks other than rank 0 get the costs alone.
fn evaluate(session: &Session, evaluator: &Evaluator, model: &Model, outcome: TrainingOutcome) -> Result<Metrics> {
    let TrainingOutcome { seconds, mut seconds_evaluating, images, last_evaluation } = outcome;
    let metrics = match last_evaluation {
        Some(metrics) => metrics,
        None => {
            let clock = Instant::now();
            let metrics = evaluator.evaluate(session.world(), session.dataset(), model)?;
            seconds_evaluating += clock.elapsed().as_secs_f64();
            metrics
        }
    };
    let mut metrics = metrics.unwrap_or_default();
    metrics.extend([("seconds_unlearn", seconds), ("seconds_eval", seconds_evaluating)]);
    if images > 0 {
        metrics.insert("images_per_second", images as f64 / seconds.max(1e-9));
    }
    metrics.extend(memory::peak().map(|bytes| ("peak_memory_bytes", bytes as f64)));
    metrics.extend(peak_device_memory(session.device())?.map(|peak| ("peak_gpu_memory_bytes", peak.allocated as f64)));
    Ok(metrics)
}

/// A flag if all parameters of the unlearned model equal those of the base model.
fn unchanged_weights_flag(base: &Checkpoint, model: &Model) -> Result<Option<String>> {
    for (_, entry, tensor) in model.state.parameters() {
        let before = base.tensors.iter().find(|(name, _)| *name == entry.name).map(|(_, before)| before);
        if let Some(before) = before
            && !tensor.f_equal(&before.f_to_kind(tensor.kind())?)?
        {
            return Ok(None);
        }
    }
    Ok(Some("the unlearned weights are those of the base model: the method changed nothing".into()))
}
