//! Files, groups and overrides to one tree, interpolations still unresolved.

use super::defaults::{self, Part};
use super::library::{Library, embed};
use super::node::join;
use super::overrides::{Action, Override};
use super::{Map, Node, Origin, Value, builtin, yaml};
use crate::error::{Error, Result, did_you_mean};

/// What Hydra itself would add to every configuration; below the key `hydra`, taken out again after resolving.
const HYDRA: &str = "
run:
  dir: ${oc.env:OUTPUTS_DIR,outputs}/${now:%Y-%m-%d}/${now:%H-%M-%S}
sweep:
  dir: multirun/${now:%Y-%m-%d}/${now:%H-%M-%S}
  subdir: ${hydra:job.num}
job:
  name: regun
  num: 0
  chdir: false
  override_dirname: ''
  config_name: config
runtime:
  cwd: .
  output_dir: ${hydra:run.dir}
  choices: {}
output_subdir: .hydra
verbose: false
searchpath: []
";

/// Keys below `hydra` that change something here.
const EFFECTIVE_HYDRA_KEYS: &[&str] = &["hydra.run.dir", "hydra.job.name", "hydra.sweep.dir", "hydra.sweep.subdir"];

pub(super) struct Tree {
    /// With the section `hydra`.
    pub root: Node,
    pub warnings: Vec<String>,
}

pub(super) fn compose(library: &Library, config_name: &str, overrides: &[String]) -> Result<Tree> {
    let overrides = overrides.iter().map(|text| Override::parse(text)).collect::<Result<Vec<_>>>()?;
    let task: Vec<&str> = overrides.iter().filter(|o| !o.key.starts_with("hydra")).map(|o| &*o.text).collect();
    let dirname = task.join(",");
    let expansion = defaults::expand(library, config_name, overrides)?;
    let mut warnings = expansion.warnings;

    let mut root = embed("hydra", yaml::parse(HYDRA, "hydra")?);
    for Part { package, body } in expansion.parts {
        warn_about_hydra_keys(&body, &mut warnings);
        merge(&mut root, embed(&package, body));
    }
    apply_presets(&mut root);
    let additions = format!("{}additions.yaml", builtin::PREFIX);
    fill_missing(&mut root, yaml::parse(builtin::text("additions.yaml").unwrap_or_default(), &additions)?);
    move_last(&mut root, "hydra");
    for given in &expansion.key_overrides {
        apply(&mut root, given, library)?;
        if given.key.starts_with("hydra.") && !EFFECTIVE_HYDRA_KEYS.contains(&given.key.as_str()) {
            warnings.push(format!("override `{}` has no effect: Hydra itself does not run here", given.text));
        }
    }
    let choices =
        expansion.choices.into_iter().map(|chosen| (chosen.group, chosen.name.map_or(Value::Null, Value::Str)));
    for (path, value) in [
        ("hydra.job.override_dirname", Value::Str(dirname)),
        ("hydra.job.config_name", Value::Str(config_name.into())),
        ("hydra.runtime.choices", map_of(choices)),
    ] {
        if let Some(node) = get_mut(&mut root, path) {
            *node = Node::new(value, Origin::Program);
        }
    }
    Ok(Tree { root, warnings })
}

/// What an experiment sets for one method alone: the section `presets.<method>` of the chosen method goes into
/// `unlearn`, those of others go nowhere. So one experiment serves all methods.
fn apply_presets(root: &mut Node) {
    let Some(presets) = root.as_map_mut().and_then(|map| map.remove("presets")) else { return };
    let chosen = root.get("unlearn.name").and_then(Node::as_str).map(str::to_owned);
    if let Some(preset) = chosen.and_then(|name| presets.get(&name).cloned()) {
        merge(root, embed("unlearn", preset));
    }
}

fn map_of(entries: impl Iterator<Item = (String, Value)>) -> Value {
    let mut map = Map::new();
    for (key, value) in entries {
        map.insert(key, Node::new(value, Origin::Program));
    }
    Value::Map(map)
}

fn warn_about_hydra_keys(body: &Node, warnings: &mut Vec<String>) {
    let Some(hydra) = body.get("hydra").and_then(Node::as_map) else { return };
    let idle = |prefix: &str, map: &Map| -> Vec<String> {
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

/// Effective, or so common and harmless that a warning would be noise.
fn is_known_hydra_key(key: &str) -> bool {
    let sections = ["hydra.run", "hydra.job", "hydra.sweep", "hydra.job.chdir", "hydra.output_subdir"];
    EFFECTIVE_HYDRA_KEYS.contains(&key) || sections.contains(&key)
}

fn move_last(root: &mut Node, key: &str) {
    if let Some(map) = root.as_map_mut()
        && let Some(node) = map.remove(key)
    {
        map.insert(key, node);
    }
}

/// Maps merge key by key; anything else replaces what was there.
pub(super) fn merge(target: &mut Node, source: Node) {
    match (&mut target.value, source) {
        (Value::Map(target), Node { value: Value::Map(source), .. }) => {
            for (key, node) in source {
                match target.get_mut(&key) {
                    Some(existing) => merge(existing, node),
                    None => target.insert(key, node),
                }
            }
        }
        (_, source) => *target = source,
    }
}

/// Sections of the Python program that have keys of ours too. Where one is missing as a whole, its group was deleted.
const SHARED_SECTIONS: [&str; 3] = ["data", "model", "trainer"];

/// Sets what `additions` has and the tree lacks.
fn fill_missing(root: &mut Node, additions: Node) {
    let (Value::Map(root), Value::Map(additions)) = (&mut root.value, additions.value) else { return };
    for (section, node) in additions {
        match root.get_mut(&section) {
            Some(existing) => fill_section(existing, node),
            None if SHARED_SECTIONS.contains(&section.as_str()) => {}
            None => root.insert(section, node),
        }
    }
}

fn fill_section(section: &mut Node, additions: Node) {
    let (Value::Map(section), Value::Map(additions)) = (&mut section.value, additions.value) else { return };
    for (key, node) in additions {
        match section.get_mut(&key) {
            Some(existing) => fill_section(existing, node),
            None => section.insert(key, node),
        }
    }
}

fn get_mut<'a>(root: &'a mut Node, path: &str) -> Option<&'a mut Node> {
    path.split('.').try_fold(root, |node, key| node.child_mut(key))
}

fn apply(root: &mut Node, given: &Override, library: &Library) -> Result<()> {
    let text = &given.text;
    let key = given.key.as_str();
    if given.package.is_some() || key.contains('/') {
        return Err(if key.starts_with("hydra/") {
            Error::usage(format!(
                "override `{text}`: Hydra's own groups (launchers, loggers, sweepers) do not exist here"
            ))
            .hint("jobs are sent to SLURM with the scripts in slurm/")
        } else {
            Error::usage(format!("override `{text}`: there is no group `{key}` in {}", library.described()))
                .hint(did_you_mean(key, library.groups().iter().map(String::as_str)))
        });
    }
    let existing = root.get(key).filter(|node| node.value != Value::Null);
    match (given.action, existing, &given.value) {
        (Action::Delete, None, _) => {
            Err(Error::usage(format!("override `{text}`: there is no value at `{key}` to delete"))
                .hint(nearest(root, key)))
        }
        (Action::Delete, Some(node), Some(value)) if !same_value(&node.value, &value.value) => {
            Err(Error::usage(format!(
                "override `{text}`: `{key}` is {}, not {}, so it stays",
                node.value.described(),
                value.value.described()
            )))
        }
        (Action::Delete, Some(_), _) => {
            remove(root, key);
            Ok(())
        }
        (Action::Add, Some(node), Some(value)) if !matches!(value.value, Value::Map(_) | Value::List(_)) => {
            Err(Error::usage(format!(
                "override `{text}`: `{key}` is already there ({}, {})",
                node.value.described(),
                node.origin
            ))
            .hint(format!("to change it write `{}`", text.trim_start_matches('+'))))
        }
        (action, _, Some(value)) => set(root, given, value.clone(), action != Action::Change, library),
        (_, _, None) => Err(Error::usage(format!("override `{text}`: a value is missing"))),
    }
}

/// Sets `given.key`, merging maps. Without `may_add`, every key on the way and every key of a merged map must exist.
fn set(root: &mut Node, given: &Override, mut value: Node, may_add: bool, library: &Library) -> Result<()> {
    let added = Origin::Override { text: given.text.clone(), added: true };
    let unknown = |root: &Node, key: &str| {
        let group = key.split('.').next().unwrap_or(key);
        let hint = if library.is_group(group) && root.get(group).is_none() {
            format!("choose `{group}=...` first: {}", library.options(group).join(", "))
        } else if !key.contains('.') && library.is_group(key) {
            format!("`{key}` is a group: {}", library.options(key).join(", "))
        } else {
            nearest(root, key)
        };
        Error::usage(format!("override `{}`: there is no key `{key}`", given.text))
            .hint(format!("{hint}; `+{}` adds a new key", given.text.trim_start_matches('+')))
    };
    let keys: Vec<&str> = given.key.split('.').collect();
    if !may_add {
        if root.get(&given.key).is_none() {
            return Err(unknown(root, &given.key));
        }
        if let Some(key) = first_unknown(root.get(&given.key), &value, &given.key) {
            return Err(unknown(root, &key));
        }
    }
    let mut node = root;
    for (depth, key) in keys.iter().enumerate() {
        let is_last = depth + 1 == keys.len();
        let is_item =
            matches!(&node.value, Value::List(items) if key.parse().is_ok_and(|index: usize| index < items.len()));
        if !is_item && !matches!(node.value, Value::Map(_)) {
            if !matches!(node.value, Value::Null) {
                return Err(Error::usage(format!(
                    "override `{}`: `{}` is {}, so it has no key `{key}`",
                    given.text,
                    keys[..depth].join("."),
                    node.value.described()
                )));
            }
            *node = Node::new(Value::Map(Map::new()), added.clone());
        }
        if let Some(map) = node.as_map_mut()
            && map.get(key).is_none()
        {
            let empty = if is_last { Value::Null } else { Value::Map(Map::new()) };
            map.insert(*key, Node::new(empty, added.clone()));
            if is_last {
                value.set_origin(&added);
            }
        }
        match node.child_mut(key) {
            Some(child) => node = child,
            None => return Err(Error::usage(format!("override `{}`: there is no item `{key}`", given.text))),
        }
    }
    mark_added(node, &mut value, &added);
    merge(node, value);
    Ok(())
}

/// The first key of `value` that has no counterpart below `target`.
fn first_unknown(target: Option<&Node>, value: &Node, path: &str) -> Option<String> {
    let (Some(Value::Map(target)), Value::Map(value)) = (target.map(|node| &node.value), &value.value) else {
        return None;
    };
    value.iter().find_map(|(key, node)| {
        let path = join(path, key);
        match target.get(key) {
            None => Some(path),
            existing => first_unknown(existing, node, &path),
        }
    })
}

/// Marks the keys of `value` that are new to `target`.
fn mark_added(target: &Node, value: &mut Node, added: &Origin) {
    if let (Value::Map(target), Value::Map(value)) = (&target.value, &mut value.value) {
        let keys: Vec<String> = value.keys().map(String::from).collect();
        for key in keys {
            match (target.get(&key), value.get_mut(&key)) {
                (Some(target), Some(node)) => mark_added(target, node, added),
                (None, Some(node)) => node.set_origin(added),
                _ => {}
            }
        }
    }
}

fn remove(root: &mut Node, path: &str) {
    let (parent, key) = path.rsplit_once('.').unwrap_or(("", path));
    let parent = if parent.is_empty() { Some(root) } else { get_mut(root, parent) };
    match parent.map(|node| &mut node.value) {
        Some(Value::Map(map)) => {
            map.remove(key);
        }
        Some(Value::List(items)) => {
            if let Ok(index) = key.parse::<usize>() {
                items.remove(index);
            }
        }
        _ => {}
    }
}

fn same_value(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Int(int), Value::Float(float)) | (Value::Float(float), Value::Int(int)) => *int as f64 == *float,
        (Value::List(a), Value::List(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same_value(&a.value, &b.value))
        }
        (Value::Map(a), Value::Map(b)) => {
            a.len() == b.len() && a.iter().all(|(key, a)| b.get(key).is_some_and(|b| same_value(&a.value, &b.value)))
        }
        _ => a == b,
    }
}

/// "did you mean" for a key that does not exist, among the keys of the deepest section of its path that does.
pub(super) fn nearest(root: &Node, path: &str) -> String {
    let (mut section, mut walked) = (root, String::new());
    for key in path.split('.') {
        match (section.child(key), &section.value) {
            (Some(child), _) => section = child,
            (None, Value::Map(map)) => return did_you_mean(key, map.keys().filter(|key| *key != "hydra")),
            (None, value) => return format!("`{walked}` is {}", value.described()),
        }
        walked = join(&walked, key);
    }
    format!("`{walked}` is {}", section.value.described())
}
