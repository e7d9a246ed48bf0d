//! Keys of this program that a composed tree may lack, and presets of an experiment.

use super::builtin::{BUILTIN, PREFIX};
use crate::error::Result;
use crate::hydra::{Node, embed, fill, merge, yaml};

/// Keys that the Python program does not have.
const ADDITIONS: &str = "additions.yaml";

/// Sections of the Python program that also hold keys of this program. If one is missing, its group was deleted, so the
/// additions do not bring it back.
const SHARED_SECTIONS: [&str; 3] = ["data", "model", "trainer"];

/// Edits the merged files before the overrides of keys are applied.
///
/// # Errors
/// `additions.yaml` is not valid YAML. It is built in, so the tests exclude this.
pub(super) fn edit(root: &mut Node) -> Result<()> {
    apply_presets(root);
    let text = BUILTIN.text(ADDITIONS).unwrap_or_default();
    add_missing(root, yaml::parse(text, &format!("{PREFIX}{ADDITIONS}"))?);
    Ok(())
}

/// Merges `presets.<method>` of the chosen method into `unlearn` and drops the presets of the others. So one experiment
/// can set values for each method.
fn apply_presets(root: &mut Node) {
    let Some(presets) = root.as_map_mut().and_then(|map| map.remove("presets")) else { return };
    let chosen = root.get("unlearn.name").and_then(Node::as_str).map(str::to_owned);
    if let Some(preset) = chosen.and_then(|name| presets.get(&name).cloned()) {
        merge(root, embed("unlearn", preset));
    }
}

/// Adds the keys of `additions` that the tree lacks.
fn add_missing(root: &mut Node, mut additions: Node) {
    if let (Some(tree), Some(added)) = (root.as_map_mut(), additions.as_map_mut()) {
        for section in SHARED_SECTIONS {
            if tree.get(section).is_none() {
                added.remove(section);
            }
        }
    }
    fill(root, additions);
}
