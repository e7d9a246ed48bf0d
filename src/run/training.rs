//! Training a model: runs a method with progress, logging and evaluation; trains and saves a model from scratch.

use std::path::Path;

use super::model_files::{check_finite, save_model};
use super::observer::{EpochEvaluation, TrainingObserver};
use super::session::Session;
use super::{identity, overview, weights};
use crate::checkpoint;
use crate::config::schema::Config;
use crate::data::Part;
use crate::error::Result;
use crate::eval::Metrics;
use crate::files;
use crate::models::Model;
use crate::pretrained;
use crate::train::supervised::Supervised;
use crate::train::{Method, Phase, TrainSettings, Trainer};

/// Costs of a training, and the evaluation after its last epoch.
pub struct TrainingOutcome {
    /// Seconds of training, without evaluation.
    pub seconds: f64,
    /// Seconds of evaluation after epochs.
    pub seconds_evaluating: f64,
    /// Samples of the samplers that end a pass, over all ranks.
    pub images: usize,
    /// The evaluation after the last epoch, if there was one; its metrics are at rank 0 only.
    pub last_evaluation: Option<Option<Metrics>>,
}

/// Trains `model` with `method`. Shows progress, writes `metrics.jsonl`, and runs `evaluation` after each epoch.
pub fn train(
    session: &Session,
    model: &mut Model,
    method: &mut dyn Method,
    settings: TrainSettings,
    evaluation: Option<EpochEvaluation<'_>>,
) -> Result<TrainingOutcome> {
    let mut observer = TrainingObserver::new(session, &settings.purpose, evaluation)?;
    let mut trainer = Trainer { world: session.world(), dataset: session.dataset(), model, settings };
    let seconds = trainer.run(method, &mut observer)?;
    Ok(TrainingOutcome {
        seconds,
        seconds_evaluating: observer.seconds_evaluating,
        images: observer.images,
        last_evaluation: observer.last_evaluation,
    })
}

/// A model, and the seconds that its training took (0 if it was loaded).
pub struct TrainedModel {
    pub model: Model,
    pub seconds: f64,
}

/// Trains a new model of `role` on a part of the data and saves it at `path`. A collective call.
pub fn train_and_save(session: &Session, role: &str, seed: u64, part: Part, path: &Path) -> Result<TrainedModel> {
    let config = session.config();
    let network = &config.model.model;
    let pretrained = match network.pretrained {
        true => {
            let (folder, mirror) = (config.paths.cache_dir.join("pretrained"), config.data.mirror.as_deref());
            let file = checkpoint::open(&pretrained::weights_file(network, &folder, mirror, session.world())?)?;
            let key = session.setup.options.weights_key.as_deref().filter(|_| network.pretrained_path.is_some());
            Some(weights::of_layout(file, key, session.architecture.layout())?)
        }
        false => None,
    };
    if session.world().is_root() {
        files::check_writable(path.parent().unwrap_or(Path::new("")))?;
    }
    let (kind, device) = (session.kind(), session.device());
    let mut model = Model::initialise(&session.architecture, seed, role, kind, device)?;
    let mut provenance = identity::provenance(&session.loaded);
    if let Some(weights) = &pretrained {
        model.state = pretrained::initial_state(network, &*session.architecture, weights, &model.state, kind, device)?;
        provenance = provenance.with("pretrained weights (sha256)", &weights.checksum);
    }
    let mut method = supervised(config, part);
    let settings = TrainSettings::new(config, session.world(), role, seed);
    overview::log_training(session, &method, &settings)?;
    let seconds = train(session, &mut model, &mut method, settings, None)?.seconds;
    check_finite(&model, role)?;
    let identity = identity::of_role(&session.identity, role, seed);
    save_model(session, &model, identity, provenance, config.trainer.max_epochs, path)?;
    session.world().barrier()?; // the other ranks may read the file next
    tracing::info!("{role}: {seconds:.1} s, saved as {}", path.display());
    Ok(TrainedModel { model, seconds })
}

/// Ordinary training on a part of the data, as configured.
fn supervised(config: &Config, part: Part) -> Supervised {
    Supervised {
        part,
        label_smoothing: config.model.model.label_smoothing.unwrap_or(0.0),
        phase: Phase {
            name: "train",
            epochs: config.trainer.max_epochs,
            optim: config.model.optim.clone(),
            scheduler: Some(config.model.scheduler.clone()),
            // The Python program names parameters for Swin and ViT only, so all parameters of a ResNet have weight
            // decay.
            named_parameters: !config.model.model.name.starts_with("resnet"),
        },
    }
}
