//! Models that another program made: what they are is told by the configuration in their file, as far as there is one.

use std::collections::BTreeMap;

use serde_json::Value;

use super::identity::{self, PROVENANCE};
use super::session::Session;
use crate::checkpoint::{Checkpoint, Facts};
use crate::error::Result;

/// The settings that decide what a model is; our identity knows their effects on the data too.
const IDENTITY: &[&str] = &[
    "data.name",
    "data.debug_subset_size",
    "split.scheme",
    "split.seed",
    "split.heldout_frac",
    "split.validation_frac",
    "split.forget_frac",
    "model.model.name",
    "model.model.stem",
    "model.model.num_classes",
];
/// The one that is part of it only where classes are forgotten.
const FORGET_CLASSES: &str = "split.forget_classes";
/// Of references the Python program may have noted either the common seed or their own.
const SEED: &str = "seed";
/// `${...}` may stand for another one: so often at most.
const MAX_HOPS: usize = 8;

/// An error unless the model is what the session needs: of `role` with its seed, or of any.
///
/// One of ours must have every fact of the identity. Of another program's, the settings that its file tells are
/// compared; what it does not tell is said.
pub fn check_fits(session: &Session, checkpoint: &Checkpoint, role: Option<(&str, u64)>) -> Result<()> {
    let Some(origin) = &checkpoint.manifest.origin else {
        let identity = session.identity.clone();
        return checkpoint.expect(&match role {
            Some((role, seed)) => identity::of_role(&identity, role, seed),
            None => identity,
        });
    };
    let (theirs, ours) = (settings(checkpoint), session.loaded.tree.to_json());
    let classes = (ours.pointer("/split/scheme") == Some(&"class".into())).then_some(FORGET_CLASSES);
    let (mut found, mut wanted, mut untold) = (Facts::default(), Facts::default(), Vec::new());
    for key in IDENTITY.iter().copied().chain(classes) {
        match setting(&theirs, key) {
            Some(value) => {
                found = found.with(key, identity_text(&value));
                wanted = wanted.with(key, setting(&ours, key).map_or("null".into(), |value| identity_text(&value)));
            }
            None => untold.push(key),
        }
    }
    match (setting(&theirs, SEED).map(|value| identity_text(&value)), role) {
        (Some(seed), Some((_, own))) if seed != own.to_string() => {
            found = found.with(SEED, seed);
            wanted = wanted.with(SEED, session.config().seed);
        }
        (Some(_), _) => {}
        (None, _) => untold.push(SEED),
    }
    checkpoint.fits(&found, &wanted)?;
    let told = if untold.is_empty() { String::new() } else { format!(", nor its {}", untold.join(", ")) };
    tracing::info!(
        "checkpoint {} was made by {origin}; its file does not tell its role or the content of its data{told}: they were \
         not checked",
        checkpoint.path.display()
    );
    Ok(())
}

/// How a model was trained. Texts of equal settings are equal, whoever wrote them.
pub fn provenance(checkpoint: &Checkpoint) -> Facts {
    let mut facts = Facts::default();
    if checkpoint.is_foreign() {
        let theirs = settings(checkpoint);
        for key in PROVENANCE {
            if let Some(value) = setting(&theirs, key) {
                facts = facts.with(key, canonical(&value));
            }
        }
        return facts;
    }
    for (name, text) in checkpoint.manifest.provenance.iter() {
        facts = match serde_json::from_str(text) {
            Ok(value) => facts.with(name, canonical(&value)),
            Err(_) => facts.with(name, text),
        };
    }
    facts
}

/// The configuration in the file; null where there is none.
fn settings(checkpoint: &Checkpoint) -> Value {
    serde_json::from_str(&checkpoint.manifest.config).unwrap_or_default()
}

/// The value of a dotted key, references to other keys followed; none where the file does not tell it.
fn setting(tree: &Value, key: &str) -> Option<Value> {
    followed(tree, lookup(tree, key)?, 0)
}

fn lookup<'a>(tree: &'a Value, key: &str) -> Option<&'a Value> {
    key.split('.').try_fold(tree, |node, part| node.get(part))
}

/// A value without `${...}`. A whole section that is referred to, or a computed value, counts as not told.
fn followed(tree: &Value, value: &Value, hops: usize) -> Option<Value> {
    match value {
        Value::String(text) if text.contains("${") => {
            let key = text.strip_prefix("${")?.strip_suffix('}')?;
            let target = lookup(tree, key).filter(|target| !target.is_object() && !target.is_array())?;
            followed(tree, target, hops + 1).filter(|_| hops < MAX_HOPS)
        }
        Value::Array(items) => {
            items.iter().map(|item| followed(tree, item, hops)).collect::<Option<_>>().map(Value::Array)
        }
        Value::Object(map) => {
            let inner = map.iter().map(|(key, value)| Some((key.clone(), followed(tree, value, hops)?)));
            inner.collect::<Option<_>>().map(Value::Object)
        }
        leaf => Some(leaf.clone()),
    }
}

/// `null` and `none` are one for a stem.
fn identity_text(value: &Value) -> String {
    match value {
        Value::String(text) if text == "none" => "null".into(),
        Value::String(text) => text.clone(),
        other => canonical(other),
    }
}

/// JSON with sorted keys, and whole numbers without a point.
fn canonical(value: &Value) -> String {
    match value {
        Value::Object(map) => {
            let sorted: BTreeMap<&String, String> = map.iter().map(|(key, value)| (key, canonical(value))).collect();
            let entries: Vec<String> = sorted.iter().map(|(key, value)| format!("{key}: {value}")).collect();
            format!("{{{}}}", entries.join(", "))
        }
        Value::Array(items) => format!("[{}]", items.iter().map(canonical).collect::<Vec<_>>().join(", ")),
        Value::Number(number) => number.as_f64().map_or(number.to_string(), |value| value.to_string()),
        other => other.to_string(),
    }
}
