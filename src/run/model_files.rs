//! Loading and saving the models of a run.

use std::path::{Path, PathBuf};

use super::checkpoint_check;
use super::session::Session;
use super::weights;
use crate::checkpoint::{self, Checkpoint, Facts, Manifest};
use crate::error::{Error, ErrorKind, Result};
use crate::models::{Model, State};
use crate::names::candidates;

/// The existing file for a configured path: the path itself, or one with the other extension or spelling.
pub fn find_checkpoint(path: &Path) -> Option<PathBuf> {
    candidates(path).into_iter().find(|candidate| candidate.exists())
}

/// Whether rank 0 finds a file for a configured path. A collective call: all ranks get the answer of rank 0.
pub fn checkpoint_exists(session: &Session, path: &Path) -> Result<bool> {
    session.world().broadcast_bool(find_checkpoint(path).is_some())
}

/// The existing file of a role's model. `command` is the command that makes such a model.
///
/// # Errors
/// `Missing` without a file. The hint names `command`.
pub fn find_role(path: &Path, role: &str, command: &str) -> Result<PathBuf> {
    find_checkpoint(path).ok_or_else(|| {
        let places: Vec<_> = candidates(path).iter().map(|place| place.display().to_string()).collect();
        Error::missing(format!("the {role} model is missing: there is no {}", places.join(", no ")))
            .hint(format!("make it with `{command}` and the same overrides"))
    })
}

/// Reads the checkpoint of a role and checks that it fits the run. `command` is the command that makes such a model.
///
/// # Errors
/// `Missing` without a file, with a damaged file, or with a model of another identity. The hint names `command`.
pub fn load_role(session: &Session, path: &Path, role: &str, seed: u64, command: &str) -> Result<Checkpoint> {
    let found = find_role(path, role, command)?;
    let file = checkpoint::open(&found).map_err(|error| {
        error.hint(format!("make it again with `{command}` and the same overrides, or restore it from a copy"))
    })?;
    // The key is that of the model to unlearn. Other models have it too, or are clear without it.
    let key = session.setup.options.weights_key.as_deref().filter(|key| role == "base" || file.has_key(key));
    let checkpoint = weights::of_layout(file, key, session.architecture.layout())?;
    let identity = session.identity_for(&checkpoint);
    checkpoint_check::check_fits(&identity, &session.loaded, &checkpoint, Some((role, seed))).map_err(|error| {
        error.hint(format!("use the settings that it was trained with, or make it with these: `{command}`"))
    })?;
    Ok(checkpoint)
}

/// The model of a checkpoint, on the device of the run.
pub fn model_of(session: &Session, checkpoint: &Checkpoint) -> Result<Model> {
    let named = checkpoint.tensors.iter().map(|(name, tensor)| (name.clone(), tensor.shallow_clone()));
    let state = State::from_named(session.architecture.layout(), named, session.kind(), session.device())
        .map_err(|error| error.context(format!("checkpoint {}", checkpoint.path.display())))?;
    Ok(Model::new(&session.architecture, state))
}

/// Saves a model at rank 0; does nothing on the other ranks. `epoch`: number of epochs that the model was trained for.
pub fn save_model(
    session: &Session,
    model: &Model,
    identity: Facts,
    provenance: Facts,
    epoch: usize,
    path: &Path,
) -> Result<()> {
    if !session.world().is_root() {
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

/// A flag if two models that a metric compares were trained with different settings. Each model comes with its name for
/// the message. For a checkpoint of another program only the settings in its file are compared.
pub fn provenance_flag(a: (&str, &Checkpoint), b: (&str, &Checkpoint)) -> Option<String> {
    let foreign = a.1.is_foreign() || b.1.is_foreign();
    let (first, second) = (checkpoint_check::provenance(a.1), checkpoint_check::provenance(b.1));
    let compared = |name: &str| !foreign || (first.get(name).is_some() && second.get(name).is_some());
    let differences = first.filtered(compared).differences(&second.filtered(compared));
    (!differences.is_empty())
        .then(|| format!("{} and {} were trained differently: {}", a.0, b.0, differences.join("; ")))
}

/// An error if a model has values that are not finite. `title` names the model.
pub fn check_finite(model: &Model, title: &str) -> Result<()> {
    for (name, tensor) in model.state.named() {
        let finite = tensor.f_isfinite()?.f_all()?;
        if finite.f_int64_value(&[])? == 0 {
            return Err(Error::new(
                ErrorKind::NonFinite,
                format!("{title}: tensor {name} holds values that are not finite"),
            ));
        }
    }
    Ok(())
}
