//! `regun pipeline`: references, base, retrained and the chosen methods, skipping what is there already; one table.

use std::path::Path;

use serde_json::{Map, Value};

use super::session::{Options, Session};
use super::training::{find, load_role};
use super::{base, print, print_json, reference, unlearn};
use crate::config::Loaded;
use crate::error::{Error, Result};
use crate::files::write_atomic;
use crate::names;
use crate::report::{Column, json, summary};

pub fn run(options: &Options, overrides: &[String], methods: &[String]) -> Result<()> {
    let loaded = options.load(overrides)?;
    let methods = match (methods, &loaded.config.unlearn) {
        ([], Some(unlearn)) => vec![unlearn.name.clone()],
        ([], None) => {
            return Err(Error::usage("no unlearning method is chosen")
                .hint("add unlearn=METHOD, or --methods with a comma-separated list"));
        }
        (several, _) => several.to_vec(),
    };
    // Every method's settings are checked before the first model trains.
    let jobs = methods
        .iter()
        .map(|method| {
            let loaded = options.load(&[overrides, &[format!("unlearn={method}")]].concat())?;
            if let Some(unlearn) = &loaded.config.unlearn {
                crate::unlearn::build(unlearn)?;
            }
            Ok((method, loaded))
        })
        .collect::<Result<Vec<_>>>()?;

    let folder = loaded.run_dir.clone();
    // Sub-runs tell their results to the table, not to standard output.
    let quiet = Options { quiet: true, ..options.clone() };
    let within = |loaded: &Loaded, name: &str| Loaded { run_dir: folder.join(name), ..loaded.clone() };
    for index in 1..=loaded.config.mul_eval.mia_num_models {
        let name = format!("reference_{index}");
        Session::from_loaded(&quiet, within(&loaded, &name), "reference")?.guard(|session| {
            let path = session.names().reference(index, names::OURS);
            if find(&path).is_some() {
                let seed = session.config().seed + index as u64;
                load_role(session, &path, &format!("reference {index}"), seed, "regun reference")?;
                tracing::info!("reference {index}: taken from {}", path.display());
                return session.finish(Map::new(), "");
            }
            reference::execute(session, index)
        })?;
    }
    let mut columns =
        Session::from_loaded(&quiet, within(&loaded, "base"), "base")?.guard(|session| base::execute(session, true))?;
    for (method, loaded) in &jobs {
        columns.push(Session::from_loaded(&quiet, within(loaded, method), "unlearn")?.guard(unlearn::execute)?);
    }
    report(options, &folder, &loaded, &columns)
}

/// The table, for people or programs, and where things are.
fn report(options: &Options, folder: &Path, loaded: &Loaded, columns: &[Column]) -> Result<()> {
    let mut results = Map::new();
    for column in columns {
        let mut metrics = json::to_json(&column.metrics);
        if let Some(seconds) = column.seconds {
            metrics.insert("seconds".into(), json::number(seconds));
        }
        results.insert(column.title.clone(), Value::Object(metrics));
    }
    let results = Value::Object(results);
    write_atomic(&folder.join("results.json"), format!("{results:#}\n").as_bytes())?;
    if options.json {
        return print_json(&results);
    }
    let cache = &loaded.config.paths.cache_dir;
    print(&format!(
        "\n{}\nresults and logs: {}\nmodels:           {}\n",
        summary(columns),
        folder.display(),
        cache.join("models").display()
    ))
}
