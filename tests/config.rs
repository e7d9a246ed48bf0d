//! The configuration against the Python program's: golden trees, Hydra's grammar, OmegaConf's scalars, error texts.

use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use regun::config::{Loaded, Request, load};
use regun::error::Error;
use serde_json::Value as Json;

/// The environment belongs to the whole process, so tests that read or set it take turns.
static ENVIRONMENT: Mutex<()> = Mutex::new(());

fn environment(variables: &[(&str, &str)]) -> MutexGuard<'static, ()> {
    let guard = ENVIRONMENT.lock().unwrap_or_else(PoisonError::into_inner);
    for name in ["CACHE_DIR", "DATA_DIR", "OUTPUTS_DIR"] {
        // SAFETY: every test of this program that touches the environment holds the lock.
        unsafe { std::env::remove_var(name) };
    }
    for (name, value) in variables {
        // SAFETY: as above.
        unsafe { std::env::set_var(name, value) };
    }
    guard
}

fn try_load(overrides: &[&str]) -> Result<Loaded, Error> {
    let overrides: Vec<String> = overrides.iter().map(|text| text.to_string()).collect();
    load(&Request { overrides: &overrides, run_dir: Some(Path::new("RUN_DIR")), ..Request::default() })
}

fn fixture() -> Json {
    serde_json::from_str(include_str!("fixtures/config.json")).expect("the fixture is JSON")
}

fn texts(list: &Json) -> Vec<&str> {
    list.as_array().into_iter().flatten().filter_map(Json::as_str).collect()
}

/// Every key of `wanted` is in `found` with an equal value of the same type, in the same order.
fn assert_superset(found: &Json, wanted: &Json, path: &str, follows_data: bool) {
    match (found, wanted) {
        (Json::Object(found), Json::Object(wanted)) => {
            for (key, wanted) in wanted {
                let path = format!("{path}.{key}");
                let found = found.get(key).unwrap_or_else(|| panic!("{path} is missing"));
                assert_superset(found, wanted, &path, follows_data);
            }
            let order: Vec<_> = found.keys().filter(|key| wanted.contains_key(*key)).collect();
            assert_eq!(order, wanted.keys().collect::<Vec<_>>(), "order of {path}");
        }
        _ if path == ".model.model.num_classes" && follows_data => {}
        _ => assert_eq!(found.to_string(), wanted.to_string(), "{path}"),
    }
}

#[test]
fn golden_trees() {
    let fixture = fixture();
    for case in fixture["cases"].as_array().into_iter().flatten() {
        let variables: Vec<_> = case["environment"].as_object().into_iter().flatten().collect();
        let variables: Vec<_> = variables.iter().map(|(key, value)| (key.as_str(), value.as_str().unwrap())).collect();
        let _guard = environment(&variables);
        let overrides = texts(&case["overrides"]);
        let loaded = try_load(&overrides).unwrap_or_else(|error| panic!("{}: {error}", case["name"]));
        let follows_data = !overrides.iter().any(|text| text.starts_with("model.model.num_classes"));
        assert_superset(&loaded.tree.to_json(), &case["config"], "", follows_data);
    }
}

#[test]
fn golden_failures() {
    let fixture = fixture();
    let _guard = environment(&[]);
    for case in fixture["failing_overrides"].as_array().into_iter().flatten() {
        let result = try_load(&texts(&case["overrides"]));
        match case.get("error") {
            Some(Json::Null) => {
                let loaded = result.unwrap_or_else(|error| panic!("{}: {error}", case["name"]));
                assert_superset(&loaded.tree.to_json(), &case["config"], "", true);
            }
            _ => println!("{}\n", result.err().unwrap_or_else(|| panic!("{} must fail", case["name"]))),
        }
    }
}
