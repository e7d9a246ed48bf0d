//! `regun unlearn`: the base model forgets, and is measured against the retrained one.

use std::time::Instant;

use super::identity;
use super::references;
use super::session::{Options, Session};
use super::training::{check_finite, load_role, model_of, save};
use super::watch::Watch;
use crate::checkpoint::Checkpoint;
use crate::config::schema::{Config, UnlearnConfig};
use crate::error::{Error, Result};
use crate::eval::privacy::over_unlearning_flags;
use crate::memory;
use crate::models::Model;
use crate::names::Names;
use crate::report::{Column, json, summary};
use crate::torch::peak_device_memory;
use crate::train::{TrainSettings, Trainer};
use crate::unlearn;

pub fn run(options: &Options, overrides: &[String]) -> Result<()> {
    let loaded = options.load(overrides)?;
    // A method that is unknown or misconfigured is refused before anything is read or written.
    unlearn::build(chosen(&loaded.config)?)?;
    Session::from_loaded(options, loaded, "unlearn")?.guard(|session| execute(session).map(|_| ()))
}

fn chosen(config: &Config) -> Result<&UnlearnConfig> {
    config.unlearn.as_ref().ok_or_else(|| {
        let names: Vec<&str> = unlearn::REGISTRY.iter().map(|method| method.name).collect();
        Error::usage("no unlearning method is chosen").hint(format!("add unlearn=METHOD, one of {}", names.join(", ")))
    })
}

/// Unlearns and evaluates.
pub fn execute(session: &mut Session) -> Result<Column> {
    let config = session.config().clone();
    let chosen = chosen(&config)?;
    let mut method = unlearn::build(chosen)?;
    let title = unlearn::info(&chosen.name)?.title;
    let base = load_role(
        session,
        &session.names().ours_of(&config.run.base_weights, Names::base),
        "base",
        config.seed,
        "regun base",
    )?;
    let mut model = model_of(session, &base)?;
    check_finite(&model, "the base model")?;
    let evaluator = references::evaluator(session, Some(&base))?;

    let role = format!("unlearn/{}", chosen.name);
    let session_ref = &*session;
    let evaluate_model = |model: &Model| evaluator.evaluate(&session_ref.world, &session_ref.dataset, model);
    let bar = config.trainer.enable_progress_bar;
    let mut watch = Watch::new(&session_ref.world, &session_ref.dataset, session_ref.folder.as_ref(), &role, bar)
        .logging_every(config.trainer.log_every_n_steps);
    if chosen.evaluate_each_epoch {
        watch = watch.evaluating(Box::new(evaluate_model));
    }
    let mut trainer = Trainer {
        world: &session_ref.world,
        dataset: &session_ref.dataset,
        model: &mut model,
        settings: TrainSettings::new(&config, &session_ref.world, &role, config.seed),
    };
    let seconds = trainer.run(method.as_mut(), &mut watch)?;
    let (last, images, mut seconds_eval) = (watch.last.take(), watch.images, watch.seconds_evaluating);
    drop(watch);
    check_finite(&model, &format!("the unlearned model ({})", chosen.name))?;
    if let Some(folder) = session_ref.folder_path() {
        let identity =
            identity::of_role(&session_ref.identity, &role, config.seed).with("base (sha256)", &base.checksum);
        let epochs = method.phases().iter().map(|phase| phase.epochs).sum();
        let provenance = identity::provenance(&session_ref.loaded);
        save(session_ref, &model, identity, provenance, epochs, &folder.join("unlearned.safetensors"))?;
    }
    let metrics = match last {
        Some(metrics) => metrics,
        None => {
            let clock = Instant::now();
            let metrics = evaluate_model(&model)?;
            seconds_eval += clock.elapsed().as_secs_f64();
            metrics
        }
    };
    let mut metrics = metrics.unwrap_or_default();
    let mut flags = over_unlearning_flags(&metrics, evaluator.retrained_metrics());
    flags.extend(unmoved(&base, &model)?);
    metrics.extend([
        // What unlearning cost.
        ("seconds_unlearn", seconds),
        ("seconds_eval", seconds_eval),
    ]);
    if images > 0 {
        metrics.insert("images_per_second", images as f64 / seconds.max(1e-9));
    }
    metrics.extend(memory::peak().map(|bytes| ("peak_memory_bytes", bytes as f64)));
    metrics.extend(peak_device_memory(session.device())?.map(|peak| ("peak_gpu_memory_bytes", peak.allocated as f64)));
    session.flag(flags);
    let column = Column { title: title.into(), metrics, seconds: Some(seconds) };
    session.finish(json::to_json(&column.metrics), &summary(std::slice::from_ref(&column)))?;
    Ok(column)
}

/// A method that changed no weight at all did nothing, whatever the metrics say.
fn unmoved(base: &Checkpoint, model: &Model) -> Result<Option<String>> {
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
