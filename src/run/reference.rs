//! `regun reference --run-idx N`: trains a reference model. It never sees the forget data and has a seed of its own.

use std::path::PathBuf;

use super::model_files::load_role;
use super::options::Options;
use super::results;
use super::session::Session;
use super::setup::Setup;
use super::training::train_and_save;
use crate::checkpoint::Checkpoint;
use crate::data::Part;
use crate::error::{Error, Result};
use crate::eval::performance::accuracy;
use crate::eval::{Metrics, collect};
use crate::names;
use crate::pretrained;

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
    Session::new(&setup, &data, loaded, "reference")?.guard(|session| execute(session, index))
}

/// Trains and saves reference model `index`, and measures its accuracy.
pub fn execute(session: &mut Session, index: usize) -> Result<()> {
    let (role, path) = (role_of(index), path_of(session, index));
    session.start()?;
    session.add_fact("checkpoint", path.display().to_string().into());
    let trained = train_and_save(session, &role, seed_of(session, index), Part::Retain, &path)?;
    let mut metrics = Metrics::new();
    let parts = [Part::Val, Part::Test];
    if let Some([val, test]) = collect::logits(session.world(), session.dataset(), &trained.model, parts)? {
        metrics.insert("acc_eval", accuracy(&val.predict()));
        metrics.insert("acc_test", accuracy(&test.predict()));
    }
    metrics.insert("seconds_train", trained.seconds);
    let accuracy = match metrics.get("acc_test").filter(|accuracy| accuracy.is_finite()) {
        Some(test) => format!("test accuracy {:.2} %", 100.0 * test),
        None => "no test images".into(),
    };
    let text = format!("{role}: {accuracy}, saved as {}\n", path.display());
    session.finish_with(vec![results::of_role(&role, metrics)], &text)?;
    Ok(())
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
