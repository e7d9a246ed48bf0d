//! Hydra's own section, the key `hydra`. Hydra itself does not run here, so most keys of the section have no effect.

use super::node::{KeyMap, Node, join};

/// Keys that have an effect.
pub(super) const EFFECTIVE_HYDRA_KEYS: &[&str] =
    &["hydra.run.dir", "hydra.job.name", "hydra.sweep.dir", "hydra.sweep.subdir", "hydra.searchpath"];

/// Warns about the keys of a file's section `hydra` that have no effect.
pub(super) fn warn_about_hydra_keys(body: &Node, warnings: &mut Vec<String>) {
    let Some(hydra) = body.get("hydra").and_then(Node::as_map) else { return };
    let idle = |prefix: &str, map: &KeyMap| -> Vec<String> {
        map.keys().map(|key| join(prefix, key)).filter(|key| !is_known_hydra_key(key)).collect()
    };
    let mut keys = idle("hydra", hydra);
    for (section, node) in hydra.iter() {
        keys.extend(node.as_map().map(|map| idle(&join("hydra", section), map)).unwrap_or_default());
    }
    if !keys.is_empty() {
        warnings.push(format!("{}: without effect here: {}", body.origin, keys.join(", ")));
    }
}

/// A key that has an effect, or a common and harmless one.
fn is_known_hydra_key(key: &str) -> bool {
    let sections = ["hydra.run", "hydra.job", "hydra.sweep", "hydra.job.chdir", "hydra.output_subdir"];
    EFFECTIVE_HYDRA_KEYS.contains(&key) || sections.contains(&key)
}
