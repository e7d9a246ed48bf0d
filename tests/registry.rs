//! Every method of the registry is complete. It has a configuration, a paper, a row in the README, golden steps, and a
//! variant in `tests/ranks.rs`, which tests that results do not depend on the number of ranks.

use std::collections::BTreeSet;

use regun::config::{Request, load};
use regun::unlearn::{REGISTRY, build};

/// Text of a file, by its path from the root of the repository.
fn text(path: &str) -> String {
    let path = format!("{}/{path}", env!("CARGO_MANIFEST_DIR"));
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The cells of a row of a Markdown table.
fn cells(row: &str) -> Vec<&str> {
    row.trim_matches('|').split('|').map(str::trim).collect()
}

#[test]
fn every_method_is_configured_cited_documented_and_tested() {
    let readme = text("README.md");
    let golden =
        ["methods", "methods_phases", "methods_oneshot"].map(|name| text(&format!("tests/{name}.rs"))).concat();
    // Whole words: `neggrad` is also the start of `neggradp`.
    let ranks = text("tests/ranks.rs");
    let in_ranks: BTreeSet<&str> = ranks.split([' ', '"']).filter_map(|word| word.strip_prefix("unlearn=")).collect();
    let registered: BTreeSet<&str> = REGISTRY.iter().map(|method| method.name).collect();
    assert_eq!(in_ranks, registered, "the methods with a variant in tests/ranks.rs");
    let rows = readme.split_once("| `unlearn=` | method | paper |").expect("a table of methods in the README").1;
    let rows: Vec<Vec<&str>> = rows.lines().skip(2).take_while(|line| line.starts_with("| `")).map(cells).collect();
    let in_readme: Vec<String> = rows.iter().map(|row| row[0].replace('`', "")).collect();
    assert_eq!(in_readme, REGISTRY.iter().map(|method| method.name).collect::<Vec<_>>(), "the rows of the README");
    for (method, row) in REGISTRY.iter().zip(rows) {
        let name = method.name;
        let overrides = [format!("unlearn={name}")];
        let loaded = load(&Request { overrides: &overrides, ..Request::default() }).unwrap();
        let config = loaded.config.unlearn.unwrap();
        assert_eq!(config.name, name);
        build(&config).unwrap_or_else(|error| panic!("{name} with its defaults: {error}"));
        let (authors, number) = method.paper.split_once(", arXiv ").unwrap_or_else(|| panic!("{name} cites no paper"));
        let cited = format!("{authors}, [{number}](https://arxiv.org/abs/{number})");
        assert_eq!(row[1..], [method.title, &cited], "the README's row of {name}");
        assert!(golden.contains(&format!("[\"{name}\"]")), "{name} has no golden steps");
    }
}
