//! `regun splits` and `regun config`: print the split and the configuration of a run without running it.

use serde_json::json;

use super::options::Options;
use super::output::{print, print_json};
use super::prepared_data::load_options;
use crate::config::{self, Request};
use crate::data::{self, split};
use crate::error::Result;
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

/// Prints the configuration as YAML, or as JSON with `--json`. With `resolve`, interpolations are resolved and all
/// values are checked.
pub fn config(options: &Options, overrides: &[String], resolve: bool) -> Result<()> {
    if !options.world.is_root() {
        return Ok(());
    }
    let request = Request {
        config_dir: options.config_dir.as_deref(),
        config_name: &options.config_name,
        overrides,
        run_dir: None,
    };
    let tree = match resolve {
        true => {
            let loaded = config::load(&request)?;
            if let Some(chosen) = &loaded.config.unlearn {
                unlearn::build(chosen)?; // the method checks its own keys
            }
            loaded.tree
        }
        false => config::compose(&request)?.tree(),
    };
    if options.json { print_json(&tree.to_json()) } else { print(&tree.to_yaml()) }
}
