//! `trainer.fast_dev_run`: a smoke test of a few batches, as in Lightning.

use crate::error::Result;
use crate::hydra::{Composed, Value};

/// Keys of the numbers of epochs.
const EPOCHS: [&str; 4] =
    ["trainer.max_epochs", "unlearn.trainer.max_epochs", "unlearn.neggrad.epochs", "unlearn.finetune.epochs"];

/// Keys that limit the batches of a pass.
const LIMITS: [&str; 3] = ["trainer.limit_train_batches", "trainer.limit_val_batches", "trainer.limit_test_batches"];

/// Changes a composed configuration with `trainer.fast_dev_run`: one epoch of so many batches. Models and caches get a
/// folder of their own, so that no later run takes them for real ones.
///
/// # Errors
/// An interpolation of these keys that cannot be resolved.
pub(super) fn apply(composed: &mut Composed) -> Result<()> {
    let batches = match composed.value("trainer.fast_dev_run")?.map(|node| node.value) {
        Some(Value::Bool(true)) => 1,
        Some(Value::Int(batches @ 1..)) => batches,
        // The reader of the key refuses other values.
        _ => return Ok(()),
    };
    for (keys, value) in [(&EPOCHS[..], 1), (&LIMITS[..], batches)] {
        for key in keys {
            if composed.value(key)?.is_some() {
                composed.set(key, Value::Int(value));
            }
        }
    }
    let key = "paths.cache_dir";
    if let Some(Value::Str(folder)) = composed.value(key)?.map(|node| node.value) {
        let folder = format!("{folder}/fast_dev_run");
        composed.warnings.push(format!(
            "trainer.fast_dev_run: one epoch of {batches} batch(es), a test of the set-up; models and caches go to \
             {folder}"
        ));
        composed.set(key, Value::Str(folder));
    }
    Ok(())
}
