//! Keys that have no effect.

use crate::config::builtin::PREFIX;
use crate::config::schema::Config;
use crate::hydra::{Node, Section, join};

/// Warns about keys of the Python program that have no effect here.
pub(super) fn warn_about_idle_keys(config: &Config, root: &Section, warnings: &mut Vec<String>) {
    let loader = ["num_workers", "pin_memory", "persistent_workers", "prefetch_factor"].map(|key| join("data", key));
    // Only keys that the user wrote. The built-in files keep them, as in the Python program.
    let idle: Vec<String> = loader.into_iter().filter(|key| is_users(root, key)).collect();
    if !idle.is_empty() {
        warnings.push(format!("without effect here (no loader processes exist): {}", idle.join(", ")));
    }
    if config.logging.enable && is_users(root, "logging.enable") {
        warnings
            .push("logging.enable=true has no effect: no tracker is built in; metrics.jsonl has the numbers".into());
    }
    if config.trainer.enable_checkpointing {
        warnings.push("trainer.enable_checkpointing=true has no effect: the final model is saved in any case".into());
    }
}

/// Whether the user wrote the value of a key: it is not the one of the built-in files.
pub(in crate::config) fn is_users(root: &Section, key: &str) -> bool {
    let from_builtin = |node: &Node| node.origin.file().is_some_and(|file| file.starts_with(PREFIX));
    root.get(key).is_some_and(|node| !from_builtin(node))
}
