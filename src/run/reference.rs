//! `regun reference --run-idx N`: trains a reference model. It never sees the forget data and has a seed of its own.

use std::path::PathBuf;

use serde_json::{Map, Value};

use super::model_files::{checkpoint_exists, load_role};
use super::options::Options;
use super::session::Session;
use super::setup::Setup;
use super::training::train_and_save;
use crate::checkpoint::Checkpoint;
use crate::data::Part;
use crate::error::{Error, Result};
use crate::eval::collect;
use crate::eval::performance::accuracy;
use crate::names;
use crate::pretrained;
use crate::report::json::number;

pub fn run(options: &Options, overrides: &[String], index: usize) -> Result<()> {
    let loaded = options.load(overrides)?;
    let references = loaded.config.mul_eval.mia_num_models;
    if !(1..=references).contains(&index) {
        return Err(Error::usage(format!(
            "--run-idx {index}: there is no such reference model; wanted 1 to {references} (mul_eval.mia_num_models)"
        )));
    }
    let setup = Setup::new(options, &loaded)?;
    pretrained::check(&loaded.config.model.model)?;
    let data = setup.data(&loaded)?;
    Session::open(&setup, &data, loaded, "reference")?.guard(|session| execute(session, index))
}

/// Trains and saves reference model `index`, and measures its accuracy.
pub fn execute(session: &mut Session, index: usize) -> Result<()> {
    let (role, path) = (role_of(index), path_of(session, index));
    let trained = train_and_save(session, &role, seed_of(session, index), Part::Retain, &path)?;
    let mut results = Map::new();
    results.insert("reference".into(), index.into());
    for (key, part) in [("acc_eval", Part::Val), ("acc_test", Part::Test)] {
        if let Some(logits) = collect::logits(session.world(), session.dataset(), &trained.model, part)? {
            results.insert(key.into(), number(accuracy(&logits.predict())));
        }
    }
    results.insert("seconds_train".into(), number(trained.seconds));
    results.insert("checkpoint".into(), path.display().to_string().into());
    let test = results.get("acc_test").and_then(Value::as_f64).unwrap_or(f64::NAN);
    let text = format!("{role}: test accuracy {:.2} %, saved as {}\n", 100.0 * test, path.display());
    session.finish(results, &text)
}

/// Runs [`execute`], unless the checkpoint of the model exists and fits the run.
pub fn execute_if_missing(session: &mut Session, index: usize) -> Result<()> {
    let path = path_of(session, index);
    if !checkpoint_exists(session, &path)? {
        return execute(session, index);
    }
    load(session, index)?;
    tracing::info!("{}: taken from {}", role_of(index), path.display());
    session.finish(Map::new(), "")
}

/// Reads the checkpoint of reference model `index` and checks that it fits the run.
///
/// # Errors
/// The errors of [`load_role`].
pub fn load(session: &Session, index: usize) -> Result<Checkpoint> {
    load_role(session, &path_of(session, index), &role_of(index), seed_of(session, index), &command_of(index))
}

/// The checkpoint of reference model `index`, counted from 1.
pub fn path_of(session: &Session, index: usize) -> PathBuf {
    session.names().reference(index, names::SAFETENSORS)
}

/// The command that trains reference model `index`.
pub fn command_of(index: usize) -> String {
    format!("regun reference --run-idx {index}")
}

/// The role of reference model `index` in its identity. Also its name in messages.
pub fn role_of(index: usize) -> String {
    format!("reference {index}")
}

/// Each reference model has a seed of its own.
fn seed_of(session: &Session, index: usize) -> u64 {
    session.config().seed + index as u64
}
