//! Composition: files, choices of groups and overrides become one tree. Interpolations stay unresolved.

use jiff::Zoned;

use super::apply::apply_override;
use super::composed::Composed;
use super::defaults::{self, PackagedConfig};
use super::interpolate::Environment;
use super::library::ConfigLibrary;
use super::merge::{embed, merge};
use super::node::{KeyMap, Node, Origin, Value};
use super::overrides::Override;
use super::own_section::{EFFECTIVE_HYDRA_KEYS, warn_about_hydra_keys};
use super::program::HydraProgram;
use super::yaml;
use crate::error::Result;

/// Composes the configuration `config_name` (a file's name without `.yaml`) under the given overrides, in their order.
///
/// # Errors
/// A file, choice or key that does not exist; text that is not YAML or not in the override grammar.
pub fn compose(
    program: &HydraProgram,
    library: &ConfigLibrary,
    config_name: &str,
    overrides: &[String],
    environment: Environment,
) -> Result<Composed> {
    let overrides = overrides.iter().map(|text| Override::parse(text)).collect::<Result<Vec<_>>>()?;
    let task: Vec<&str> = overrides.iter().filter(|o| !o.key.starts_with("hydra")).map(|o| &*o.text).collect();
    let dirname = task.join(",");
    let expanded = defaults::expand(library, config_name, overrides)?;
    let mut warnings = expanded.warnings;

    let mut root = embed("hydra", yaml::parse(program.hydra_section, "hydra")?);
    for PackagedConfig { package, body } in expanded.configs {
        warn_about_hydra_keys(&body, &mut warnings);
        merge(&mut root, embed(&package, body));
    }
    (program.edit)(&mut root)?;
    move_last(&mut root, "hydra");
    for given in &expanded.key_overrides {
        apply_override(&mut root, given, library, program.launcher_hint)?;
        if given.key.starts_with("hydra.") && !EFFECTIVE_HYDRA_KEYS.contains(&given.key.as_str()) {
            warnings.push(format!("override `{}` has no effect: Hydra itself does not run here", given.text));
        }
    }
    let choices =
        expanded.choices.into_iter().map(|chosen| (chosen.group, chosen.name.map_or(Value::Null, Value::Str)));
    for (path, value) in [
        ("hydra.job.override_dirname", Value::Str(dirname)),
        ("hydra.job.config_name", Value::Str(config_name.into())),
        ("hydra.runtime.choices", map_of(choices)),
    ] {
        if let Some(node) = root.get_mut(path) {
            *node = Node::new(value, Origin::Program);
        }
    }
    Ok(Composed { root, now: Zoned::now(), environment, warnings })
}

fn map_of(entries: impl Iterator<Item = (String, Value)>) -> Value {
    let mut map = KeyMap::new();
    for (key, value) in entries {
        map.insert(key, Node::new(value, Origin::Program));
    }
    Value::Map(map)
}

fn move_last(root: &mut Node, key: &str) {
    if let Some(map) = root.as_map_mut()
        && let Some(node) = map.remove(key)
    {
        map.insert(key, node);
    }
}
