//! `regun reference --run-idx N`: a model that never saw the forget data, with a seed of its own.

use serde_json::{Map, Value};

use super::session::{Options, Session};
use super::training::train_and_save;
use crate::data::Part;
use crate::error::{Error, Result};
use crate::eval::collect;
use crate::eval::performance::accuracy;
use crate::names;
use crate::report::json::number;

pub fn run(options: &Options, overrides: &[String], index: usize) -> Result<()> {
    let loaded = options.load(overrides)?;
    let references = loaded.config.mul_eval.mia_num_models;
    if !(1..=references).contains(&index) {
        return Err(Error::usage(format!(
            "--run-idx {index}: there is no such reference model; wanted 1 to {references} (mul_eval.mia_num_models)"
        )));
    }
    Session::from_loaded(options, loaded, "reference")?.guard(|session| execute(session, index))
}

/// Trains and saves reference model `index`.
pub fn execute(session: &mut Session, index: usize) -> Result<()> {
    let path = session.names().reference(index, names::OURS);
    let role = format!("reference {index}");
    let trained = train_and_save(session, &role, session.config().seed + index as u64, Part::Retain, &path)?;
    let mut results = Map::new();
    results.insert("reference".into(), index.into());
    for (key, part) in [("acc_eval", Part::Val), ("acc_test", Part::Test)] {
        if let Some(logits) = collect::logits(&session.world, &session.dataset, &trained.model, part)? {
            results.insert(key.into(), number(accuracy(&logits.predict())));
        }
    }
    results.insert("seconds_train".into(), number(trained.seconds));
    results.insert("checkpoint".into(), path.display().to_string().into());
    let test = results.get("acc_test").and_then(Value::as_f64).unwrap_or(f64::NAN);
    let text = format!("{role}: test accuracy {:.2} %, saved as {}\n", 100.0 * test, path.display());
    session.finish(results, &text)
}
