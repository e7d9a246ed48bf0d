//! Training, saving and loading the models of a run.

use std::path::Path;

use super::session::Session;
use super::watch::Watch;
use super::{foreign, identity};
use crate::checkpoint::{self, Checkpoint, Facts, Manifest};
use crate::data::Part;
use crate::error::{Error, ErrorKind, Result};
use crate::files;
use crate::models::{Model, State};
use crate::names::candidates;
use crate::pretrained;
use crate::train::supervised::Supervised;
use crate::train::{Phase, TrainSettings, Trainer};

/// A model in memory and what its making cost.
pub struct Trained {
    pub model: Model,
    pub seconds: f64,
}

/// Trains a fresh model of `role` on a part of the data and saves it.
pub fn train_and_save(session: &Session, role: &str, seed: u64, part: Part, path: &Path) -> Result<Trained> {
    let config = session.config();
    let network = &config.model.model;
    let pretrained = match network.pretrained {
        true => {
            let (folder, mirror) = (config.paths.cache_dir.join("pretrained"), config.data.mirror.as_deref());
            Some(checkpoint::load(&pretrained::file(network, &folder, mirror, &session.world)?)?)
        }
        false => None,
    };
    if session.world.is_root() {
        files::check_writable(path.parent().unwrap_or(Path::new("")))?;
    }
    let mut model = Model::initialise(&session.architecture, seed, role, session.kind(), session.device())?;
    let mut provenance = identity::provenance(&session.loaded);
    if let Some(weights) = &pretrained {
        let (kind, device) = (session.kind(), session.device());
        model.state = pretrained::start(network, &*session.architecture, weights, &model.state, kind, device)?;
        provenance = provenance.with("pretrained weights (sha256)", &weights.checksum);
    }
    let mut method = Supervised {
        part,
        label_smoothing: config.model.model.label_smoothing.unwrap_or(0.0),
        phase: Phase {
            name: "train",
            epochs: config.trainer.max_epochs,
            optim: config.model.optim.clone(),
            scheduler: Some(config.model.scheduler.clone()),
            // The Python program names parameters for Swin and ViT only; a ResNet's all decay.
            named_parameters: !config.model.model.name.starts_with("resnet"),
        },
    };
    let bar = config.trainer.enable_progress_bar;
    let mut watch = Watch::new(&session.world, &session.dataset, session.folder.as_ref(), role, bar)
        .logging_every(config.trainer.log_every_n_steps);
    let mut trainer = Trainer {
        world: &session.world,
        dataset: &session.dataset,
        model: &mut model,
        settings: TrainSettings::new(config, &session.world, role, seed),
    };
    let seconds = trainer.run(&mut method, &mut watch)?;
    drop(watch);
    check_finite(&model, role)?;
    let identity = identity::of_role(&session.identity, role, seed);
    save(session, &model, identity, provenance, config.trainer.max_epochs, path)?;
    // Others read the file next.
    session.world.barrier()?;
    tracing::info!("{role}: {seconds:.1} s, saved as {}", path.display());
    Ok(Trained { model, seconds })
}

/// Saves a model at rank 0.
pub fn save(
    session: &Session,
    model: &Model,
    identity: Facts,
    provenance: Facts,
    epoch: usize,
    path: &Path,
) -> Result<()> {
    if !session.world.is_root() {
        return Ok(());
    }
    let manifest = Manifest {
        identity,
        provenance,
        epoch,
        config: session.loaded.to_yaml(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        origin: None,
    };
    let tensors: Vec<_> = model.state.named().map(|(name, tensor)| (name.to_owned(), tensor.shallow_clone())).collect();
    checkpoint::save(path, &manifest, &tensors).map(|_| ())
}

/// The file that stands for a path: as given, with the other extension, or in the other spelling.
pub fn find(path: &Path) -> Option<std::path::PathBuf> {
    candidates(path).into_iter().find(|candidate| candidate.exists())
}

/// Whether rank 0 sees a file for a configured path: all ranks must take the same way.
pub fn exists(session: &Session, path: &Path) -> Result<bool> {
    session.world.broadcast_bool(find(path).is_some())
}

/// Reads the checkpoint of a role and checks that it fits. `command` is what makes it.
pub fn load_role(session: &Session, path: &Path, role: &str, seed: u64, command: &str) -> Result<Checkpoint> {
    let Some(found) = find(path) else {
        let places: Vec<_> = candidates(path).iter().map(|place| place.display().to_string()).collect();
        return Err(Error::missing(format!("the {role} model is missing: there is no {}", places.join(", no ")))
            .hint(format!("make it with `{command}` and the same overrides")));
    };
    let checkpoint = checkpoint::load(&found).map_err(|error| {
        error.hint(format!("make it again with `{command}` and the same overrides, or restore it from a copy"))
    })?;
    foreign::check_fits(session, &checkpoint, Some((role, seed))).map_err(|error| {
        error.hint(format!("use the settings that it was trained with, or make it with these: `{command}`"))
    })?;
    Ok(checkpoint)
}

/// The model of a checkpoint that fits.
pub fn model_of(session: &Session, checkpoint: &Checkpoint) -> Result<Model> {
    let named = checkpoint.tensors.iter().map(|(name, tensor)| (name.clone(), tensor.shallow_clone()));
    let state = State::from_named(session.architecture.layout(), named, session.kind(), session.device())
        .map_err(|error| error.context(format!("checkpoint {}", checkpoint.path.display())))?;
    Ok(Model::new(&session.architecture, state))
}

/// Says where two models of one comparison were trained differently: such numbers mean less than they seem to. What
/// the file of another program does not say is not compared.
pub fn provenance_flags(a: (&str, &Checkpoint), b: (&str, &Checkpoint)) -> Option<String> {
    let foreign = a.1.is_foreign() || b.1.is_foreign();
    let (first, second) = (foreign::provenance(a.1), foreign::provenance(b.1));
    let compared = |name: &str| !foreign || (first.get(name).is_some() && second.get(name).is_some());
    let differences = first.filtered(compared).differences(&second.filtered(compared));
    (!differences.is_empty())
        .then(|| format!("{} and {} were trained differently: {}", a.0, b.0, differences.join("; ")))
}

/// Whether the model is finite: a checkpoint with NaN is worse than none.
pub fn check_finite(model: &Model, what: &str) -> Result<()> {
    for (name, tensor) in model.state.named() {
        let finite = tensor.f_isfinite()?.f_all()?;
        if finite.f_int64_value(&[])? == 0 {
            return Err(Error::new(
                ErrorKind::NonFinite,
                format!("{what}: tensor {name} holds values that are not finite"),
            ));
        }
    }
    Ok(())
}
