//! Composition: files, choices of groups and overrides become one tree. Interpolations stay unresolved.

use std::path::{Path, PathBuf};

use jiff::Zoned;

use super::apply::apply_override;
use super::composed::Composed;
use super::defaults::{self, DefaultsContext};
use super::interpolate::{Environment, Interpolator};
use super::library::ConfigLibrary;
use super::merge::{embed, merge};
use super::node::{KeyMap, Node, Origin, Value};
use super::overrides::Override;
use super::own_section::{EFFECTIVE_HYDRA_KEYS, warn_about_hydra_keys};
use super::program::HydraProgram;
use super::yaml;
use crate::error::{Error, Result};
use crate::home;

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
    let now = Zoned::now();
    let mut warnings = Vec::new();
    let folders = search_path(library, config_name, &overrides, &now, environment, &mut warnings)?;
    let library = &library.with_search_path(folders);
    let context = DefaultsContext { library, choice_hint: program.choice_hint, now: &now, environment };
    let mut expanded = defaults::expand(&context, config_name, overrides)?;
    warnings.append(&mut expanded.warnings);
    let mut contents = Vec::new();
    expanded.tree.take_contents(&mut contents);

    let mut root = embed("hydra", yaml::parse(program.hydra_section, "hydra")?);
    for (package, body) in contents {
        warn_about_hydra_keys(&body, &mut warnings);
        merge(&mut root, embed(&package, body));
    }
    (program.edit)(&mut root)?;
    move_last(&mut root, "hydra");
    for given in &expanded.key_overrides {
        apply_override(&mut root, given, library, program)?;
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
    Ok(Composed { root, now, environment, warnings, defaults: expanded.tree, search_path: library.search_path() })
}

/// The folders of `hydra.searchpath`, from the command line or from the root file. They are searched last.
fn search_path(
    library: &ConfigLibrary,
    config_name: &str,
    overrides: &[Override],
    now: &Zoned,
    environment: Environment,
    warnings: &mut Vec<String>,
) -> Result<Vec<PathBuf>> {
    let key = "hydra.searchpath";
    let root = match library.load(config_name)? {
        Some(file) => file.body,
        None => return Ok(Vec::new()),
    };
    let given = overrides.iter().find(|given| given.key == key).and_then(|given| given.value.as_ref());
    let Some(node) = given.or_else(|| root.get(key)) else { return Ok(Vec::new()) };
    let resolved = Interpolator { root: &root, now, environment }.resolve(key, node)?;
    let wrong =
        || Error::usage(format!("{}: `{key}` is {}: wanted a list of folders", node.origin, node.value.described()));
    let Value::List(items) = &resolved.value else { return Err(wrong()) };
    let mut folders = Vec::new();
    for item in items {
        let text = item.as_str().ok_or_else(wrong)?;
        if let Some((scheme, _)) = text.split_once("://").filter(|(scheme, _)| *scheme != "file") {
            return Err(Error::usage(format!(
                "{}: `{key}`: {text} is not a folder: `{scheme}://` is Python's",
                item.origin
            ))
            .hint("copy the files into a folder and name it"));
        }
        let folder = home::expand(Path::new(text.strip_prefix("file://").unwrap_or(text)));
        match folder.is_dir() {
            true => folders.push(folder),
            false => warnings.push(format!("{}: `{key}`: there is no folder {}", item.origin, folder.display())),
        }
    }
    Ok(folders)
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
