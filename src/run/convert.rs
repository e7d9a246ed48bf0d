//! `regun convert SRC DST`: writes a checkpoint in another format. The content of SRC and the extension of DST decide
//! the formats.

use std::path::Path;

use serde_json::json;

use super::options::Options;
use super::output::{print, print_json};
use super::weights;
use crate::checkpoint::{self, Checkpoint, pytorch};
use crate::error::{Error, Result};

/// Writes a checkpoint in one format.
type SaveCheckpoint = fn(&Path, &Checkpoint) -> Result<()>;
/// The extension and the writer of each format.
const FORMATS: &[(&str, SaveCheckpoint)] = &[
    ("safetensors", |path, from| checkpoint::save(path, &from.manifest, &from.tensors).map(drop)),
    ("pt", pytorch::save_state_dict),
    ("pth", pytorch::save_state_dict),
    ("ckpt", pytorch::save_lightning),
];

pub fn run(options: &Options, source: &Path, target: &Path, force: bool) -> Result<()> {
    let save = format_of(target)?;
    if !options.world.is_root() {
        return Ok(());
    }
    if target.exists() && !force {
        return Err(Error::usage(format!("{} exists", target.display())).hint("--force replaces it"));
    }
    let checkpoint = weights::of_any_architecture(checkpoint::open(source)?, options.weights_key.as_deref())?;
    save(target, &checkpoint)?;
    let notes = notes(&checkpoint, target);
    if options.json {
        return print_json(&json!({
            "source": source.display().to_string(),
            "target": target.display().to_string(),
            "tensors": checkpoint.tensors.len(),
            "checksum": checkpoint.checksum,
            "origin": checkpoint.manifest.origin,
            "notes": notes,
        }));
    }
    print(&format!("{}: {} tensors from {}\n", target.display(), checkpoint.tensors.len(), source.display()))?;
    notes.iter().try_for_each(|note| print(&format!("note: {note}\n")))
}

/// The format of a target file, by its extension.
fn format_of(target: &Path) -> Result<SaveCheckpoint> {
    let extension = target.extension().and_then(|extension| extension.to_str()).unwrap_or_default();
    let format = FORMATS.iter().find(|(known, _)| *known == extension);
    format.map(|&(_, save)| save).ok_or_else(|| {
        let known: Vec<String> = FORMATS.iter().map(|(known, _)| format!(".{known}")).collect();
        Error::usage(format!("{}: no checkpoint format has this extension", target.display()))
            .hint(format!("give it one of {}", known.join(", ")))
    })
}

/// Notes about information that the new file lacks.
fn notes(checkpoint: &Checkpoint, target: &Path) -> Vec<String> {
    let mut notes = Vec::new();
    if let Some(origin) = &checkpoint.manifest.origin {
        notes.push(match checkpoint.manifest.config.is_empty() {
            true => {
                format!("made by {origin}: the file holds only weights; their data and settings are unknown")
            }
            false => format!("made by {origin}: a run compares its settings with the configuration in the file"),
        });
    }
    if target.extension().is_some_and(|extension| extension == "ckpt") {
        notes.push(
            "Lightning can load the weights; the file has no optimizer state, so training cannot continue from it"
                .into(),
        );
    }
    notes
}
