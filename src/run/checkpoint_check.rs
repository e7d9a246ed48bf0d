//! Checks that a checkpoint fits the run, for our own checkpoints and for those of other programs.
//!
//! Our own checkpoints hold identity and provenance. A checkpoint of another program may hold the configuration of its
//! training; only those settings can be checked.

use std::collections::BTreeMap;

use serde_json::Value;

use super::identity::{self, PROVENANCE};
use crate::checkpoint::{Checkpoint, Facts};
use crate::config::Loaded;
use crate::error::Result;

/// Settings that make up the identity of a model. Our own identity also holds their effects on the data.
const IDENTITY: &[&str] = &[
    "data.name",
    "data.debug_subset_size",
    "split.scheme",
    "split.seed",
    "split.heldout_frac",
    "split.validation_frac",
    "split.forget_frac",
    "model.model.name",
    STEM,
    "model.model.num_classes",
];
const STEM: &str = "model.model.stem";
/// The Python program's old key for the stem: true or false.
const CIFAR_STEM: &str = "model.model.cifar_stem";
/// Part of the identity only if whole classes are forgotten.
const FORGET_CLASSES: &str = "split.forget_classes";
/// For a reference model the Python program may have stored either the common seed or the model's own.
const SEED: &str = "seed";
/// Longest chain of `${...}` references that is followed.
const MAX_HOPS: usize = 8;

/// Checks that a checkpoint fits a run with this identity and configuration, and that it holds a model of `role` with
/// its seed (`None`: of any role).
///
/// Our own checkpoint must have every fact of the identity. For a checkpoint of another program the settings in its
/// file are compared, and a log line lists the settings that it does not contain.
///
/// # Errors
/// Lists the facts or settings that differ.
pub fn check_fits(identity: &Facts, loaded: &Loaded, checkpoint: &Checkpoint, role: Option<(&str, u64)>) -> Result<()> {
    let Some(origin) = &checkpoint.manifest.origin else {
        return match role {
            Some((role, seed)) => checkpoint.check_identity(&identity::of_role(identity, role, seed)),
            None => checkpoint.check_identity(identity),
        };
    };
    let (theirs, ours) = (settings(checkpoint), loaded.tree.to_json());
    let classes = (ours.pointer("/split/scheme") == Some(&"class".into())).then_some(FORGET_CLASSES);
    let (mut found, mut wanted, mut unknown) = (Facts::default(), Facts::default(), Vec::new());
    for key in IDENTITY.iter().copied().chain(classes) {
        match setting(&theirs, key) {
            Some(value) => {
                found = found.with(key, identity_text(&value));
                wanted = wanted.with(key, setting(&ours, key).map_or("null".into(), |value| identity_text(&value)));
            }
            None => unknown.push(key),
        }
    }
    match (setting(&theirs, SEED).map(|value| identity_text(&value)), role) {
        (Some(seed), Some((_, own))) if seed != own.to_string() => {
            found = found.with(SEED, seed);
            wanted = wanted.with(SEED, loaded.config.seed);
        }
        (Some(_), _) => {}
        (None, _) => unknown.push(SEED),
    }
    checkpoint.check_facts(&found, &wanted)?;
    let others = if unknown.is_empty() { String::new() } else { format!(", nor its {}", unknown.join(", ")) };
    tracing::info!(
        "checkpoint {} was made by {origin}; its file states neither its role nor the content of its data{others}: \
         they were not checked",
        checkpoint.path.display()
    );
    Ok(())
}

/// Provenance of a model, spelled alike for all programs: equal settings have equal texts.
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

/// The configuration in the file; null if it contains none.
fn settings(checkpoint: &Checkpoint) -> Value {
    serde_json::from_str(&checkpoint.manifest.config).unwrap_or_default()
}

/// The value of a dotted key in a JSON tree. `None` if there is none.
fn lookup<'a>(tree: &'a Value, key: &str) -> Option<&'a Value> {
    key.split('.').try_fold(tree, |node, part| node.get(part))
}

/// The value of a dotted key, with references to other keys replaced by their values. `None` if it is not in the file.
/// An old file has `cifar_stem` in place of `stem`.
fn setting(tree: &Value, key: &str) -> Option<Value> {
    let value = lookup(tree, key).and_then(|value| resolved(tree, value, 0));
    match value {
        None | Some(Value::Null) if key == STEM => match lookup(tree, CIFAR_STEM) {
            Some(Value::Bool(cifar)) => Some(if *cifar { "cifar" } else { "none" }.into()),
            _ => value,
        },
        value => value,
    }
}

/// A value with its `${...}` replaced. `None` if one refers to a whole section or to a computed value.
fn resolved(tree: &Value, value: &Value, hops: usize) -> Option<Value> {
    match value {
        Value::String(text) if text.contains("${") => {
            let key = text.strip_prefix("${")?.strip_suffix('}')?;
            let target = lookup(tree, key).filter(|target| !target.is_object() && !target.is_array())?;
            resolved(tree, target, hops + 1).filter(|_| hops < MAX_HOPS)
        }
        Value::Array(items) => {
            items.iter().map(|item| resolved(tree, item, hops)).collect::<Option<_>>().map(Value::Array)
        }
        Value::Object(map) => {
            let inner = map.iter().map(|(key, value)| Some((key.clone(), resolved(tree, value, hops)?)));
            inner.collect::<Option<_>>().map(Value::Object)
        }
        leaf => Some(leaf.clone()),
    }
}

/// Text of an identity setting. A stem of `null` and one of `none` are the same.
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
