//! The structure of the source: layers, circles and names. `ARCHITECTURE.md` has the table of the layers.

mod source_tree;

use std::collections::{BTreeMap, BTreeSet};

use source_tree::{Imports, Sources, code, imports, read};

/// Imports that were circles or went upwards before the layers were drawn. Each is put back by the test below.
const FORBIDDEN: &[(&str, &str)] = &[
    ("src/train/meter.rs", "use crate::eval::performance::accuracy;"),
    ("src/train/method.rs", "use super::trainer::Trainer;"),
    ("src/train/term.rs", "use super::meter::Meter;"),
    ("src/train/step.rs", "use super::method::Method;"),
    ("src/train/observer.rs", "use super::trainer::Trainer;"),
    ("src/train/graph_capture.rs", "use super::trainer::Trainer;"),
    ("src/train/update.rs", "use super::phase_run::PhaseRun;"),
    ("src/models/forward.rs", "use super::batch_norm::BatchNorm;"),
    ("src/models/fused.rs", "use super::batch_norm::BatchNorm;"),
    ("src/models/layer_pass.rs", "use super::per_sample::squared_gradients;"),
    ("src/models/norm_constants.rs", "use super::batch_norm::BatchNorm;"),
    ("src/models/forward.rs", "use crate::distributed::World;"),
    ("src/models/stochastic_depth.rs", "use crate::data::DeviceDataset;"),
    ("src/models/registry.rs", "use crate::fetch::fetch;"),
    ("src/models/model.rs", "use crate::checkpoint::Checkpoint;"),
    ("src/data/images.rs", "use super::cifar::load;"),
    ("src/data/raw_dataset.rs", "use super::digits::load;"),
    ("src/data/raw_dataset.rs", "use super::pack::load;"),
    ("src/eval/metric_map.rs", "use super::metrics::evaluate;"),
    ("src/hydra/decode.rs", "use super::section::Section;"),
    ("src/names.rs", "use crate::data::Part;"),
    ("src/names.rs", "use crate::unlearn::REGISTRY;"),
    ("src/distributed/device_placement.rs", "use crate::config::Config;"),
    ("src/unlearn/salun.rs", "use crate::eval::Metrics;"),
];

/// Public types that share a name on purpose.
const SHARED_NAMES: &[&str] = &[];

fn sources() -> Sources {
    read("src", &[".rs"])
}

fn module(file: &str) -> &str {
    let below = file.trim_start_matches("src/");
    below.split('/').next().unwrap_or(below).trim_end_matches(".rs")
}

/// The rows of the table of modules in `ARCHITECTURE.md`, from the top to the bottom: each module, and the modules that
/// it may import.
fn table_of_modules() -> Vec<(String, Vec<String>)> {
    let text = std::fs::read_to_string(source_tree::repository().join("ARCHITECTURE.md")).unwrap();
    let section = text.split("\n## ").find(|section| section.starts_with("Layers\n")).expect("a section `Layers`");
    let quoted = |cell: &str| cell.split('`').skip(1).step_by(2).map(str::to_owned).collect::<Vec<_>>();
    let rows: Vec<Vec<&str>> = section
        .lines()
        .filter(|line| line.starts_with("| `"))
        .map(|line| line.trim_matches('|').split('|').collect())
        .collect();
    let modules: Vec<String> = rows.iter().flat_map(|cells| quoted(cells[0])).collect();
    let allowed = |(row, cells): (usize, &Vec<&str>)| match cells[2].trim() {
        "all modules below" => modules[row + 1..].to_vec(),
        cell => [quoted(cell), vec!["error".to_owned()]].concat(),
    };
    modules.iter().cloned().zip(rows.iter().enumerate().map(allowed)).collect()
}

/// One line for each import between modules that the table does not allow, with both ends.
fn forbidden_imports(imports: &Imports) -> Vec<String> {
    let allowed: BTreeMap<String, Vec<String>> = table_of_modules().into_iter().collect();
    let mut faults = Vec::new();
    for (file, targets) in imports.iter().filter(|(file, _)| *file != "src/lib.rs") {
        for (target, names) in targets.iter().filter(|(target, _)| module(target) != module(file)) {
            if !allowed.get(module(file)).is_some_and(|below| below.iter().any(|name| name == module(target))) {
                faults.push(format!("{file} must not import {names:?} from {target}"));
            }
        }
    }
    faults
}

/// One text for each circle of files: its files, and the imports that tie them.
fn circles(imports: &Imports) -> Vec<String> {
    let reachable = |from: &str| {
        let (mut seen, mut pending) = (BTreeSet::new(), vec![from.to_owned()]);
        while let Some(file) = pending.pop() {
            for target in imports.get(&file).into_iter().flat_map(BTreeMap::keys) {
                if seen.insert(target.clone()) {
                    pending.push(target.clone());
                }
            }
        }
        seen
    };
    let reach: BTreeMap<&String, BTreeSet<String>> = imports.keys().map(|file| (file, reachable(file))).collect();
    let mut circles: BTreeSet<Vec<&String>> = BTreeSet::new();
    for (file, reached) in reach.iter().filter(|(file, reached)| reached.contains(**file)) {
        circles.insert(
            reach.keys().copied().filter(|other| reached.contains(*other) && reach[other].contains(*file)).collect(),
        );
    }
    let told = |circle: &Vec<&String>| {
        let mut text = format!("circle of {} files:", circle.len());
        for file in circle {
            for (target, names) in imports[*file].iter().filter(|(target, _)| circle.contains(target)) {
                text += &format!("\n  {file} imports {names:?} from {target}");
            }
        }
        text
    };
    circles.iter().map(told).collect()
}

#[test]
fn modules_import_only_what_the_table_allows() {
    let faults = forbidden_imports(&imports(&sources()));
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn files_form_no_circle() {
    let circles = circles(&imports(&sources()));
    assert!(circles.is_empty(), "{}", circles.join("\n"));
}

#[test]
fn each_old_circle_is_found_when_it_is_put_back() {
    let sources = sources();
    for (file, line) in FORBIDDEN {
        let mut changed = sources.clone();
        let text = changed.get_mut(*file).unwrap_or_else(|| panic!("{file} is gone: name another file in FORBIDDEN"));
        text.insert_str(0, &format!("{line}\n"));
        let imports = imports(&changed);
        let faults = [forbidden_imports(&imports), circles(&imports)].concat().join("\n");
        assert!(faults.contains(file), "`{line}` in {file} was not found:\n{faults}");
    }
}

#[test]
fn the_table_has_every_module_and_points_downwards() {
    let table = table_of_modules();
    let found: BTreeSet<String> = sources().keys().map(|file| module(file).to_owned()).filter(|m| m != "lib").collect();
    let listed: BTreeSet<String> = table.iter().map(|(module, _)| module.clone()).collect();
    assert_eq!(found, listed);
    for (row, (module, allowed)) in table.iter().enumerate() {
        for name in allowed.iter().filter(|name| *name != module) {
            let below = table[row + 1..].iter().any(|(lower, _)| lower == name);
            assert!(below, "ARCHITECTURE.md: the row of `{module}` allows `{name}`, which is not below it");
        }
    }
}

#[test]
fn no_two_public_types_share_a_name() {
    let mut places: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (file, text) in sources() {
        let code = code(&text);
        for line in code.lines().map(str::trim_start).filter(|line| line.starts_with("pub")) {
            let words: Vec<&str> =
                line.split(|c: char| !(c.is_alphanumeric() || c == '_')).filter(|w| !w.is_empty()).collect();
            let keyword = words.iter().position(|word| matches!(*word, "struct" | "enum" | "trait" | "type" | "union"));
            if let Some(name) = keyword.filter(|at| *at <= 2).and_then(|at| words.get(at + 1)) {
                places.entry((*name).to_owned()).or_default().push(file.clone());
            }
        }
    }
    let shared: Vec<String> = places
        .iter()
        .filter(|(name, files)| files.len() > 1 && !SHARED_NAMES.contains(&name.as_str()))
        .map(|(name, files)| format!("{name}: {}", files.join(", ")))
        .collect();
    assert!(shared.is_empty(), "{}", shared.join("\n"));
}

/// Comments state a thing: a noun first. Clauses such as "What ..." make a reader read twice.
#[test]
fn comments_do_not_begin_with_a_clause() {
    const CLAUSES: [&str; 5] = ["What ", "Who ", "Whose ", "Whatever ", "That which "];
    let mut found = Vec::new();
    for folder in
        ["src", "tests", "benches", "conf", "scripts", "docs", ".ci", "Makefile", "README.md", "ARCHITECTURE.md"]
    {
        for (file, text) in read(folder, &[".rs", ".cpp", ".h", ".c", ".py", ".sh", ".yaml", ".md", "run", "Makefile"])
        {
            for (number, line) in text.lines().enumerate() {
                let is_prose = file.ends_with(".md");
                let line = line.trim_start();
                let comment = ["///", "//!", "//", "#"].iter().find_map(|mark| line.strip_prefix(mark));
                let Some(body) = comment.or(is_prose.then(|| line.trim_start_matches(['-', '|', '#', ' ']))) else {
                    continue;
                };
                if CLAUSES.iter().any(|clause| body.trim_start_matches(['-', '*', ' ']).starts_with(clause)) {
                    found.push(format!("{file}:{}: {line}", number + 1));
                }
            }
        }
    }
    assert!(found.is_empty(), "{} comments begin with a clause:\n{}", found.len(), found.join("\n"));
}
