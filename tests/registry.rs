//! Every method of the registry is complete. It has a configuration, a paper, a row in the README, golden steps, and a
//! variant in `tests/ranks.rs`, which tests that results do not depend on the number of ranks.

use regun::config::{Request, load};
use regun::unlearn::{REGISTRY, build};

/// Text of a file, by its path from the root of the repository.
fn text(path: &str) -> String {
    let path = format!("{}/{path}", env!("CARGO_MANIFEST_DIR"));
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"))
}

#[test]
fn every_method_is_configured_cited_documented_and_tested() {
    let readme = text("README.md");
    let golden =
        ["methods", "methods_phases", "methods_oneshot"].map(|name| text(&format!("tests/{name}.rs"))).concat();
    let ranks = text("tests/ranks.rs");
    for method in REGISTRY {
        let name = method.name;
        let overrides = [format!("unlearn={name}")];
        let loaded = load(&Request { overrides: &overrides, ..Request::default() }).unwrap();
        let config = loaded.config.unlearn.unwrap();
        assert_eq!(config.name, name);
        build(&config).unwrap_or_else(|error| panic!("{name} with its defaults: {error}"));
        assert!(method.paper.contains("arXiv"), "{name} cites {}", method.paper);
        let row = readme.lines().find(|line| line.starts_with(&format!("| `{name}` |")));
        let row = row.unwrap_or_else(|| panic!("{name} has no row in the README"));
        let number = method.paper.rsplit(' ').next().unwrap();
        assert!(row.contains(method.title) && row.contains(number), "{name}: {row}");
        assert!(golden.contains(&format!("[\"{name}\"]")), "{name} has no golden steps");
        assert!(ranks.contains(&format!("unlearn={name} ")), "{name} has no variant in tests/ranks.rs");
    }
}
