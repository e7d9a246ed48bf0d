//! `regun splits`, `regun config`, `--cfg` and `--info`: print the split and the configuration of a run without running
//! it.

use serde_json::json;

use super::options::Options;
use super::output::{print, print_json};
use super::prepared_data::load_options;
use crate::cli::{CfgPart, InfoPart};
use crate::config::{self, Node};
use crate::data::{self, split};
use crate::error::{Error, Result, did_you_mean};
use crate::hydra::merge;
use crate::unlearn;

/// Prints the indices of all parts of the training set as JSON.
pub fn splits(options: &Options, overrides: &[String]) -> Result<()> {
    let loaded = options.load(overrides)?;
    let load_options = load_options(&loaded.config, &options.world);
    let dataset = data::obtain(&loaded.config.data, load_options, &options.world)?;
    let parts = split::split(&dataset.train.labels, &loaded.config.split)?;
    for warning in &parts.warnings {
        tracing::warn!("{warning}");
    }
    if !options.world.is_root() {
        return Ok(());
    }
    print_json(&json!({
        "retain": parts.retain,
        "forget": parts.forget,
        "heldout": parts.heldout,
        "val": parts.val,
        "retain_subset": parts.retain_subset,
    }))
}

/// Prints the configuration as YAML, or as JSON with `--json`. With `--resolve`, interpolations are resolved and all
/// values are checked.
pub fn config(options: &Options, overrides: &[String]) -> Result<()> {
    if !options.world.is_root() {
        return Ok(());
    }
    let request = options.request(overrides);
    let tree = match options.resolve {
        true => {
            let loaded = config::load(&request)?;
            if let Some(chosen) = &loaded.config.unlearn {
                unlearn::build(chosen)?; // the method checks its own keys
            }
            loaded.tree
        }
        false => config::compose(&request)?.tree(),
    };
    print_part(options, &tree, |_| Ok(None))
}

/// `--cfg`: prints a part of the configuration as Hydra does. Values are not checked.
pub fn cfg(options: &Options, overrides: &[String], part: CfgPart) -> Result<()> {
    if !options.world.is_root() {
        return Ok(());
    }
    let composed = config::compose(&options.request(overrides))?;
    let mut tree = match part {
        CfgPart::Job => composed.tree(),
        CfgPart::Hydra => composed.hydra_tree(),
        CfgPart::All => composed.hydra_tree(),
    };
    if part == CfgPart::All {
        merge(&mut tree, composed.tree());
    }
    print_part(options, &tree, |node| match options.resolve {
        true => composed.resolve_part(node, options.package_key()).map(Some),
        false => Ok(None),
    })
}

/// Prints a tree, or its part at `--package`, after `resolve` has had its turn.
fn print_part(options: &Options, tree: &Node, resolve: impl Fn(&Node) -> Result<Option<Node>>) -> Result<()> {
    let key = options.package_key();
    let part = if key.is_empty() { Some(tree) } else { tree.get(key) };
    let part = part.ok_or_else(|| {
        let known = tree.as_map().map(|map| map.keys().collect::<Vec<_>>()).unwrap_or_default();
        Error::usage(format!("--package {key}: there is no such section")).hint(did_you_mean(key, known))
    })?;
    let resolved = resolve(part)?;
    let part = resolved.as_ref().unwrap_or(part);
    if options.json {
        return print_json(&part.to_json());
    }
    if part.as_map().is_none() {
        return print(&format!("{}\n", part.value.python_str()));
    }
    let header = if key.is_empty() { String::new() } else { format!("# @package {key}\n") };
    print(&format!("{header}{}", part.to_yaml()))
}

/// `--info`: prints the files that the configuration is made of, in Hydra's tables.
pub fn info(options: &Options, overrides: &[String], part: InfoPart) -> Result<()> {
    if !options.world.is_root() {
        return Ok(());
    }
    let composed = config::compose(&options.request(overrides))?;
    let shows = |wanted: InfoPart| part == wanted || matches!(part, InfoPart::All | InfoPart::Config);
    let mut text = String::new();
    if shows(InfoPart::Searchpath) {
        let rows = composed.search_path.iter().map(|(provider, place)| vec![(*provider).to_owned(), place.clone()]);
        text += &table("Config search path", &["Provider", "Search path"], rows.collect());
    }
    if shows(InfoPart::DefaultsTree) {
        text += &format!("\nDefaults Tree\n*************\n{}\n", composed.defaults_tree().join("\n"));
    }
    if shows(InfoPart::Defaults) {
        let rows = composed.defaults_list().into_iter().map(Vec::from).collect();
        text += &table("Defaults List", &["Config path", "Package", "_self_", "Parent"], rows);
    }
    if matches!(part, InfoPart::All | InfoPart::Config) {
        text += &format!("\nConfig\n******\n{}", composed.tree().to_yaml());
    }
    print(&text)
}

/// A table with a title, as Hydra prints it.
fn table(title: &str, header: &[&str], rows: Vec<Vec<String>>) -> String {
    let width = |column: usize| {
        let cells = rows.iter().map(|row| row[column].len());
        cells.chain([header[column].len()]).max().unwrap_or(0)
    };
    let line = |cells: &[&str]| {
        let cells = cells.iter().enumerate().map(|(column, cell)| format!("{cell:<width$}", width = width(column)));
        format!("| {} |", cells.collect::<Vec<_>>().join(" | "))
    };
    let head = line(header);
    let rule = "-".repeat(head.len());
    let mut lines = vec![String::new(), title.to_owned(), "*".repeat(title.len()), head, rule.clone()];
    lines.extend(rows.iter().map(|row| line(&row.iter().map(String::as_str).collect::<Vec<_>>())));
    lines.push(rule);
    lines.join("\n") + "\n"
}
