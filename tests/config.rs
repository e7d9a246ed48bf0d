//! Trees, grammar and scalars of the configuration are those of the Python program, Hydra and OmegaConf. Messages name
//! the mistake.

use std::env::VarError;
use std::fs;
use std::path::Path;

use regun::config::schema::{
    Accelerator, BatchLimit, DevicesConfig, ErasingValue, OptimName, Precision, SchedulerName, Stem, UnlearnConfig,
};
use regun::config::{Loaded, Request, builtin, compose_in};
use regun::error::{Error, ErrorKind};
use regun::hydra::overrides::{Override, sweep};
use regun::hydra::{Environment, KeyMap, Node, Origin, Value, float_text, scalar, yaml};
use serde_json::{Value as Json, json};

const EMPTY: Environment = |_| Err(VarError::NotPresent);

fn load_from(dir: Option<&Path>, overrides: &[&str], environment: Environment) -> Result<Loaded, Error> {
    let overrides: Vec<String> = overrides.iter().map(|text| text.to_string()).collect();
    let request = Request { config_dir: dir, overrides: &overrides, run_dir: Some("RUN_DIR"), ..Request::default() };
    Loaded::read(compose_in(&request, environment)?)
}

fn load(overrides: &[&str]) -> Result<Loaded, Error> {
    load_from(None, overrides, EMPTY)
}

/// Message and hint of the error that these overrides cause.
fn failure(overrides: &[&str]) -> String {
    let error = load(overrides).expect_err("must fail");
    assert_eq!(error.kind(), ErrorKind::Usage);
    error.to_string()
}

fn assert_says(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "wanted \"{part}\" in:\n{text}");
    }
}

/// A folder with the given files.
fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a temporary folder");
    for (path, text) in files {
        let path = folder.path().join(path);
        fs::create_dir_all(path.parent().expect("it has a parent")).expect("a folder");
        fs::write(path, text).expect("a file");
    }
    folder
}

/// The resolved tree of a folder's `main.yaml`, without the sections that every configuration gets.
fn resolve(files: &[(&str, &str)], overrides: &[&str]) -> Result<Json, Error> {
    let folder = folder(files);
    let overrides: Vec<String> = overrides.iter().map(|text| text.to_string()).collect();
    let request =
        Request { config_dir: Some(folder.path()), config_name: "main", overrides: &overrides, ..Request::default() };
    let mut tree = compose_in(&request, EMPTY)?.resolve()?.to_json();
    for ours in ["compat", "launch"] {
        tree.as_object_mut().expect("a section").remove(ours);
    }
    Ok(tree)
}

fn fixture() -> Json {
    serde_json::from_str(include_str!("fixtures/config.json")).expect("the fixture is JSON")
}

fn texts(list: &Json) -> Vec<&str> {
    list.as_array().into_iter().flatten().filter_map(Json::as_str).collect()
}

/// Composed by Hydra itself, see `fixtures/make_hydra.py`.
#[test]
fn folders_are_composed_as_hydra_does() {
    let fixture: Json = serde_json::from_str(include_str!("fixtures/hydra.json")).expect("the fixture is JSON");
    let environment: Environment = |name| if name == "GOLDEN_DB" { Ok("pg".into()) } else { Err(VarError::NotPresent) };
    let mut wrong = Vec::new();
    for case in fixture["cases"].as_array().expect("cases") {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let place = |text: &str| text.replace("FOLDER", &folder.path().display().to_string());
        for (path, text) in case["files"].as_object().expect("files") {
            let path = folder.path().join(path);
            fs::create_dir_all(path.parent().expect("it has a parent")).expect("a folder");
            fs::write(path, place(text.as_str().expect("text"))).expect("a file");
        }
        let overrides: Vec<String> = texts(&case["overrides"]).into_iter().map(place).collect();
        let config_name = case["config"].as_str().expect("a name");
        let request =
            Request { config_dir: Some(folder.path()), config_name, overrides: &overrides, ..Request::default() };
        let found = compose_in(&request, environment).and_then(|composed| composed.resolve());
        let found = found.map(|tree| {
            let mut tree = tree.to_json();
            tree.as_object_mut().expect("a section").retain(|key, _| key != "compat" && key != "launch");
            tree
        });
        let name = &case["name"];
        // As text: the order of keys counts, and whether a number is an integer.
        let found = found.map(|tree| tree.to_string());
        match (found, case.get("wanted").map(Json::to_string)) {
            (Ok(found), Some(wanted)) if found == wanted => {}
            (Err(error), None) if error.kind() == ErrorKind::Usage => {}
            (Ok(found), wanted) => wrong.push(format!("{name}: got {found}, wanted {}", json!(wanted))),
            (Err(error), wanted) => wrong.push(format!("{name}: {error}; wanted {}", json!(wanted))),
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Every key of `wanted` is in `found`, in the same order, with an equal value of the same type. Unless
/// `classes_given`, the number of classes follows the data set and is not compared.
fn assert_superset(found: &Json, wanted: &Json, path: &str, classes_given: bool) {
    match (found, wanted) {
        (Json::Object(found), Json::Object(wanted)) => {
            for (key, wanted) in wanted {
                let path = format!("{path}.{key}");
                let found = found.get(key).unwrap_or_else(|| panic!("{path} is missing"));
                assert_superset(found, wanted, &path, classes_given);
            }
            let order: Vec<_> = found.keys().filter(|key| wanted.contains_key(*key)).collect();
            assert_eq!(order, wanted.keys().collect::<Vec<_>>(), "order of {path}");
        }
        _ if path == ".model.model.num_classes" && !classes_given => {}
        _ => assert_eq!(found.to_string(), wanted.to_string(), "{path}"),
    }
}

/// The environment variables that one fixture case sets.
fn fixture_environment(name: &str) -> Result<String, VarError> {
    let variables = [("CACHE_DIR", "C/c"), ("DATA_DIR", "D/d")];
    let found = variables.iter().find(|(known, _)| *known == name);
    found.map(|(_, value)| value.to_string()).ok_or(VarError::NotPresent)
}

#[test]
fn resolved_trees_equal_those_of_hydra() {
    let fixture = fixture();
    let cases = fixture["cases"].as_array().expect("cases");
    assert_eq!(cases.len(), 13);
    for case in cases {
        let variables = case["environment"].as_object().expect("variables");
        for (name, value) in variables {
            assert_eq!(fixture_environment(name).as_deref().ok(), value.as_str());
        }
        let environment = if variables.is_empty() { EMPTY } else { fixture_environment };
        let overrides = texts(&case["overrides"]);
        let loaded =
            load_from(None, &overrides, environment).unwrap_or_else(|error| panic!("{}: {error}", case["name"]));
        let classes_given = overrides.iter().any(|text| text.starts_with("model.model.num_classes"));
        assert_superset(&loaded.tree.to_json(), &case["config"], "", classes_given);
    }
}

/// All choices of data, model and method. Only the values that docs/differences.md lists may differ.
#[test]
fn every_combination_of_choices_has_the_defaults_of_the_python_program() {
    let fixture: Json = serde_json::from_str(include_str!("fixtures/config_all.json")).expect("the fixture is JSON");
    let cases = fixture["cases"].as_array().expect("cases");
    assert_eq!(cases.len(), 99);
    for case in cases {
        let overrides = texts(&case["overrides"]);
        let loaded = load(&overrides).unwrap_or_else(|error| panic!("{overrides:?}: {error}"));
        assert!(loaded.warnings.is_empty(), "{overrides:?}: {:?}", loaded.warnings);
        let (found, mut wanted) = (loaded.tree.to_json(), case["config"].clone());
        if overrides.contains(&"model=vit") {
            let image_size = wanted["model"]["model"].get_mut("image_size").expect("a ViT has it");
            assert_eq!(*image_size, 224, "{overrides:?}");
            *image_size = Json::Null;
        }
        assert_superset(&found, &wanted, "", false);
    }
}

#[test]
fn unusual_overrides_load_or_fail_as_in_hydra() {
    let fixture = fixture();
    for case in fixture["failing_overrides"].as_array().expect("cases") {
        let result = load(&texts(&case["overrides"]));
        match case.get("error") {
            Some(Json::Null) => {
                let loaded = result.unwrap_or_else(|error| panic!("{}: {error}", case["name"]));
                assert_superset(&loaded.tree.to_json(), &case["config"], "", false);
            }
            _ => assert!(result.is_err(), "{} must fail", case["name"]),
        }
    }
}

/// The user's file holds a tree of the Python program. It has none of the keys that only regun has.
#[test]
fn configurations_of_the_python_program_load() {
    for case in fixture()["cases"].as_array().expect("cases") {
        let tree: Node = yaml::parse(&case["config"].to_string(), "fixture").expect("JSON is YAML");
        let folder = folder(&[("config.yaml", &tree.to_yaml())]);
        let loaded =
            load_from(Some(folder.path()), &[], EMPTY).unwrap_or_else(|error| panic!("{}: {error}", case["name"]));
        assert_superset(&loaded.tree.to_json(), &case["config"], "", true);
        assert_eq!(loaded.config.data.num_classes, loaded.config.model.model.num_classes);
        assert_eq!(loaded.config.data.eval_batch_size, 256);
        assert!(loaded.config.trainer.sync_batchnorm && !loaded.config.compat.scrub_teacher_mode);
    }
}

/// Strict YAML readers refuse a flow list that closes at its parent's indent. PyYAML accepts it.
#[test]
fn flow_lists_may_close_at_the_parents_indent() {
    let tree = yaml::parse("logging:\n  tags: [\n    a, b\n  ]\nx: 1\n", "f").expect("PyYAML reads it");
    assert_eq!(tree.to_json(), json!({"logging": {"tags": ["a", "b"]}, "x": 1}));
}

#[test]
fn values_are_read_into_typed_structs() {
    let loaded =
        load(&["unlearn=scrub", "data=tiny_imagenet", "model=vit", "trainer.precision=32", "data.batch_size=64"])
            .expect("a configuration");
    let config = loaded.config;
    let unlearn = config.unlearn.expect("a method");
    assert_eq!((config.data.batch_size, config.data.num_classes, config.model.model.num_classes), (64, 200, 200));
    assert_eq!((config.trainer.precision, config.model.model.stem), (Precision::F32, None::<Stem>));
    assert_eq!((unlearn.name.as_str(), unlearn.max_epochs, unlearn.optim.lr), ("scrub", 5, Some(0.01)));
    assert_eq!(unlearn.scheduler.map(|scheduler| scheduler.name), Some(SchedulerName::Multistep));
    assert_eq!(loaded.run_dir, Path::new("RUN_DIR"));

    let ssd = load(&["unlearn=ssd"]).expect("a configuration").config.unlearn.expect("a method");
    assert_eq!((ssd.max_epochs, ssd.optim.name, ssd.scheduler), (0, OptimName::None, None));
    assert!(load(&[]).expect("a configuration").config.unlearn.is_none());

    let devices = |text: &str| load(&[&format!("trainer.devices={text}")]).expect("it loads").config.trainer.devices;
    assert_eq!(
        ["auto", "-1", "'2'"].map(devices),
        [DevicesConfig::Auto, DevicesConfig::Count(-1), DevicesConfig::Count(2)]
    );
    assert_eq!(devices("[2,0]"), DevicesConfig::These(vec![2, 0]));
    let fill = |text: &str| {
        let loaded = load(&["data=tiny_imagenet", &format!("data.transforms.random_erasing.value={text}")]);
        loaded.expect("it loads").config.data.transforms.random_erasing.map(|erasing| erasing.value)
    };
    assert_eq!(["random", "1"].map(fill), [Some(ErasingValue::Random), Some(ErasingValue::Number(1.0))]);
}

#[test]
fn methods_read_their_own_section() {
    #[derive(Debug, serde::Deserialize)]
    struct Settings {
        alpha: f64,
        #[serde(rename = "lambda")]
        lambda: f64,
        fim_microbatch_size: usize,
    }
    let section =
        |overrides: &[&str]| load(overrides).expect("a configuration").config.unlearn.expect("a method").method;
    let read = |overrides: &[&str]| section(overrides).decode_ignoring::<Settings>(UnlearnConfig::SHARED_KEYS);

    let settings = read(&["unlearn=ssd", "unlearn.alpha=5"]).expect("integers are numbers too");
    assert_eq!((settings.alpha, settings.lambda, settings.fim_microbatch_size), (5.0, 1.0, 16));
    read(&["unlearn=ssd", "+unlearn.extra.key=5"]).expect("an added key is kept with a warning");

    let error = read(&["unlearn=ssd", "unlearn.lambda=big"]).expect_err("text is no number").to_string();
    assert_says(&error, &["override `unlearn.lambda=big`", "`unlearn.lambda` is the text \"big\"", "wanted a number"]);
    let error = section(&["unlearn=ssd"]).decode::<Settings>().expect_err("`name` is not its key").to_string();
    assert_says(&error, &["conf/unlearn/ssd.yaml:3:1", "unknown key `unlearn.name`"]);
    let error = section(&["unlearn=ssd", "unlearn.alpha=-1"]).reject("alpha", "a number above 0").to_string();
    assert_says(&error, &["override `unlearn.alpha=-1`: `unlearn.alpha` is -1: wanted a number above 0"]);
}

#[test]
fn every_file_is_compiled_in_and_loads() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("conf");
    let mut found = Vec::new();
    let mut folders = vec![root.clone()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).expect("conf is a folder").flatten() {
            let path = entry.path();
            if path.is_dir() {
                folders.push(path);
            } else {
                found.push(path.strip_prefix(&root).expect("below conf").to_string_lossy().into_owned());
            }
        }
    }
    found.sort();
    assert_eq!(found, builtin::FILES.iter().map(|(path, _)| path.to_string()).collect::<Vec<_>>());

    for (group, choice) in found.iter().filter_map(|path| path.strip_suffix(".yaml")?.split_once('/')) {
        let choice = format!("{group}={choice}");
        let mut overrides = vec![choice.as_str()];
        if choice == "data=image_folder" {
            let error = load(&overrides).expect_err("there is no folder to count");
            assert_eq!(error.kind(), ErrorKind::Missing);
            assert_says(error.message(), &["data.num_classes is not set", "no folder train in cache/image_folder"]);
            overrides.push("data.num_classes=5");
        }
        let loaded = load(&overrides).unwrap_or_else(|error| panic!("{choice}: {error}"));
        let yaml = loaded.to_yaml();
        assert_eq!(yaml::parse(&yaml, "printed").expect("it is YAML").to_json(), loaded.tree.to_json(), "{yaml}");
    }
}

#[test]
fn the_demo_sets_its_values_and_the_command_line_wins() {
    let config = load(&["experiment=demo", "trainer.max_epochs=2"]).expect("a configuration").config;
    assert_eq!((config.model.model.name.as_str(), config.data.num_classes), ("resnet20", 10));
    assert_eq!((config.split.forget_classes, config.trainer.max_epochs), (vec![3, 8], 2));
    assert_eq!(config.unlearn.expect("a method").name, "regun");
    let config = load(&["experiment=demo", "unlearn=scrub"]).map(|loaded| loaded.config);
    assert_eq!(config.expect("the command line wins").unlearn.expect("a method").name, "scrub");
}

/// YAML text, and the type and value that PyYAML gives it with OmegaConf 2.3's loader. Floats are as in Python.
const YAML_SCALARS: &[(&str, &str, &str)] = &[
    ("yes", "bool", "True"),
    ("Off", "bool", "False"),
    ("TRUE", "bool", "True"),
    ("yEs", "str", "yEs"),
    ("y", "str", "y"),
    ("~", "null", "None"),
    ("NULL", "null", "None"),
    ("nULL", "str", "nULL"),
    ("", "null", "None"),
    ("017", "int", "15"),
    ("-017", "int", "-15"),
    ("08", "str", "08"),
    ("0o17", "str", "0o17"),
    ("0x1F", "int", "31"),
    ("0b11", "int", "3"),
    ("+12", "int", "12"),
    ("-0", "int", "0"),
    ("1_000", "int", "1000"),
    ("_1", "str", "_1"),
    ("1:30", "int", "90"),
    ("1:30:05", "int", "5405"),
    ("01:30", "str", "01:30"),
    ("1:60", "str", "1:60"),
    ("1:30.5", "float", "90.5"),
    ("1e5", "float", "100000.0"),
    ("1e-05", "float", "1e-05"),
    ("12e03", "float", "12000.0"),
    ("5e-4", "float", "0.0005"),
    ("5.", "float", "5.0"),
    (".5", "float", "0.5"),
    ("-.5", "str", "-.5"),
    (".5e3", "str", ".5e3"),
    (".5e+3", "float", "500.0"),
    ("1.5e3", "float", "1500.0"),
    ("1_0.5_0", "float", "10.5"),
    ("41_.4E0", "str", "41_.4E0"),
    (".inf", "float", "inf"),
    ("-.INF", "float", "-inf"),
    (".NaN", "float", "nan"),
    ("-.NaN", "str", "-.NaN"),
    ("inf", "str", "inf"),
    ("nan", "str", "nan"),
    ("2020-01-01", "str", "2020-01-01"),
    ("1e", "str", "1e"),
    ("1.2.3", "str", "1.2.3"),
];

/// Text of an override's value, and the type and value that Hydra 1.3's parser gives it. An empty type is an error.
const OVERRIDE_SCALARS: &[(&str, &str, &str)] = &[
    ("yes", "str", "yes"),
    ("off", "str", "off"),
    ("tRuE", "bool", "True"),
    ("FALSE", "bool", "False"),
    ("nULL", "null", "None"),
    ("~", "", ""),
    ("~/data", "str", "~/data"), // Hydra wants quotes
    ("a~", "", ""),
    ("017", "str", "017"),
    ("0x1F", "str", "0x1F"),
    ("1:30", "str", "1:30"),
    ("1_000", "int", "1000"),
    ("1__0", "str", "1__0"),
    ("+5", "int", "5"),
    ("-0", "int", "0"),
    ("5.", "float", "5.0"),
    ("-.5", "float", "-0.5"),
    ("5e-4", "float", "0.0005"),
    (".5e3", "float", "500.0"),
    ("12e03", "float", "12000.0"),
    ("inf", "float", "inf"),
    ("-Inf", "float", "-inf"),
    ("NaN", "float", "nan"),
    ("1.2.3", "str", "1.2.3"),
    ("2020-01-01", "str", "2020-01-01"),
    ("3abc", "str", "3abc"),
    ("a b", "str", "a b"),
    ("/a/b-c.d", "str", "/a/b-c.d"),
    ("'5'", "str", "5"),
    ("\"a,b\"", "str", "a,b"),
    (r"'it\'s'", "str", "it's"),
    (r"'a\b\\'", "str", r"a\b\"),
    (r"a\,b\=c\ d", "str", "a,b=c d"),
    (r"a\b", "str", r"a\b"),
    ("${a.b}", "str", "${a.b}"),
    ("x/${a}_${b}", "str", "x/${a}_${b}"),
    ("${a.${b}}", "str", "${a.${b}}"),
    ("[1, 'a', [true]]", "list", "[1, 'a', [True]]"),
    ("[]", "list", "[]"),
    ("{a: 1, b: {c: null}}", "map", "{'a': 1, 'b': {'c': None}}"),
    ("{}", "map", "{}"),
    ("", "str", ""),
    ("int('7')", "int", "7"),
    ("str(1e3)", "str", "1000.0"),
    ("float(2)", "float", "2.0"),
    ("a=b", "", ""),
    ("a(b", "", ""),
    ("[1,2", "", ""),
    ("[1,]", "", ""),
    ("{a}", "", ""),
    ("'a", "", ""),
    ("'a'b", "", ""),
    ("${a", "", ""),
    ("a#b", "", ""),
    ("f(1)", "", ""),
];

fn kind_and_text(value: &Value) -> (&'static str, String) {
    let kind = match value {
        Value::Null => "null",
        Value::Bool(_) => "bool",
        Value::Int(_) => "int",
        Value::Float(_) => "float",
        Value::Str(_) => "str",
        Value::List(_) => "list",
        Value::Map(_) => "map",
    };
    (kind, value.python_str())
}

#[test]
fn yaml_scalars_have_the_types_of_omegaconf() {
    for (text, kind, wanted) in YAML_SCALARS {
        assert_eq!(kind_and_text(&scalar::yaml_scalar(text)), (*kind, wanted.to_string()), "{text}");
    }
}

#[test]
fn override_values_have_the_types_of_hydra() {
    for (text, kind, wanted) in OVERRIDE_SCALARS {
        let found = Override::parse(&format!("key={text}")).ok().and_then(|given| given.value);
        let found = found.map_or(("", String::new()), |node| kind_and_text(&node.value));
        assert_eq!(found, (*kind, wanted.to_string()), "{text}");
    }
}

#[test]
fn floats_are_printed_as_in_python_and_read_back() {
    let cases = [
        (0.1, "0.1"),
        (1.0, "1.0"),
        (1e-4, "0.0001"),
        (1e-5, "1e-05"),
        (1.5e-7, "1.5e-07"),
        (1e15, "1000000000000000.0"),
        (1e16, "1e+16"),
        (1.0 - 0.7, "0.30000000000000004"),
        (-0.0, "-0.0"),
        (f64::INFINITY, "inf"),
    ];
    for (value, text) in cases {
        assert_eq!(float_text(value), text);
        let printed = Node::new(Value::Float(value), Origin::Program).to_yaml();
        assert_eq!(scalar::yaml_scalar(printed.trim()), Value::Float(value), "{printed}");
    }
}

#[test]
fn printed_text_reads_back_as_the_same_text() {
    for text in [
        "", " a", "a ", "yes", "1:30", "a: b", "a #b", "- a", "'q'", "a\nb", "\u{7}", "é", "{a}", "???", "null", "a:",
        "*x",
    ] {
        let mut map = KeyMap::new();
        map.insert(text, Node::new(Value::Str(text.into()), Origin::Program));
        let tree = Node::new(Value::Map(map), Origin::Program);
        let printed = tree.to_yaml();
        assert_eq!(yaml::parse(&printed, "f").map(|node| node.to_json()).ok(), Some(tree.to_json()), "{printed}");
    }
}

#[test]
fn sweeps_are_refused_in_a_single_run_and_expanded_for_many_runs() {
    for text in ["seed=1,2", "seed=choice(1,2)", "seed=range(3)"] {
        assert_says(&failure(&[text]), &[text, "sweeps are not supported"]);
    }
    let line = ["a=1,'x,y'".to_owned(), "b=c".to_owned(), "d=range(1,3)".to_owned()];
    let jobs = sweep(&line).expect("a sweep");
    assert_eq!(
        jobs,
        [["a=1", "b=c", "d=1"], ["a=1", "b=c", "d=2"], ["a='x,y'", "b=c", "d=1"], ["a='x,y'", "b=c", "d=2"],]
    );
}

#[test]
fn interpolations_resolve_as_in_omegaconf() {
    let main = r#"
a: 1
b: {c: 2.5, d: "${a}", e: {f: x, g: "${..d}", h: "${.f}", i: "${...a}"}}
l: [1, "${a}", {m: 3}]
t: true
n: null
name: b
"#;
    let cases = [
        ("${a}", json!(1)),
        ("x${a}y", json!("x1y")),
        ("-${n}-${t}-${b.c}", json!("-None-True-2.5")),
        ("${b.e}", json!({"f": "x", "g": 1, "h": "x", "i": 1})),
        ("${l[2].m}", json!(3)),
        ("${${name}.c}", json!(2.5)),
        (r"\${a}", json!("${a}")),
        (r"\\${a}", json!(r"\1")),
        ("${oc.env:NOT_SET,3}", json!("3")),
        ("${oc.env:NOT_SET,null}", Json::Null),
        ("${oc.env:NOT_SET,'a,b'}", json!("a,b")),
        ("${oc.env:NOT_SET,${b.c}/z}", json!("2.5/z")),
        ("${oc.select:zz,5}", json!(5)),
        ("${oc.decode:'[1,x]'}", json!([1, "x"])),
        ("${eval:1 - ${b.c}}", json!(-1.5)),
        ("${eval:'(2 + 3) // 2'}", json!(2)),
        ("${now:%%}", json!("%")),
        ("${hydra:job.name}", json!("regun")),
        ("unlearn:${hydra:runtime.choices.unlearn}", json!("unlearn:None")),
    ];
    for (text, wanted) in cases {
        let text = format!("{main}x: {{y: {}}}\n", json!(text));
        let found = resolve(&[("main.yaml", &text)], &[]).unwrap_or_else(|error| panic!("{text}: {error}"));
        assert_eq!(found["x"]["y"], wanted, "{text}");
    }
}

#[test]
fn the_message_about_a_broken_interpolation_names_both_keys() {
    let cases: &[(&str, &[&str])] = &[
        ("a: {b: 1}\nc: ${a.bb}\n", &["main.yaml:2:1: `c`: refers to `a.bb`", "did you mean `b`"]),
        ("a: ${b}\nb: {c: 'x${a}'}\n", &["main.yaml:1:1: `a`: interpolations form a cycle: a -> b.c -> a"]),
        ("a: ${a}\n", &["cycle: a -> a"]),
        ("a: ${b}\nb: ???\n", &["`a`: refers to `b`, which must be given"]),
        ("a: ${oc.env:NOT_SET}\n", &["`a`", "NOT_SET", "is not set", "${oc.env:NOT_SET,default}"]),
        ("a: ${evil:1}\n", &["unknown resolver `evil`", "did you mean `eval`"]),
        ("a: ${eval:import os}\n", &["`import` is unknown: only arithmetic"]),
        ("a: ${eval:1/0}\n", &["division by zero"]),
        ("a: ${b\n", &["`}` of an interpolation is missing"]),
        ("a: ${..b}\n", &["`${..b}` does not name a key"]),
    ];
    for (text, parts) in cases {
        assert_says(&resolve(&[("main.yaml", text)], &[]).expect_err(text).to_string(), parts);
    }
}

#[test]
fn nesting_that_is_too_deep_is_an_error() {
    let deep = |open: &str, close: &str| format!("{}a{}", open.repeat(2_000), close.repeat(2_000));
    assert_says(&failure(&[&format!("logging.tags={}", deep("[", "]"))]), &["nested too deeply"]);
    assert_says(&failure(&[&format!("logging.name={}", deep("${", "}"))]), &["nested too deeply"]);
    let long_chain: String = (0..2_000).map(|link| format!("a{link}: ${{a{}}}\n", link + 1)).collect();
    assert_says(&resolve(&[("main.yaml", &long_chain)], &[]).expect_err("a chain").to_string(), &["nested too deeply"]);
    assert!(yaml::parse(&deep("[", "]"), "f").is_err());
}

#[test]
fn defaults_lists_compose_as_in_hydra() {
    let files: &[(&str, &str)] = &[
        (
            "main.yaml",
            "defaults:\n  - g: p\n  - h: null\n  - _self_\n  - optional k: absent\n  - e: null\nx: main\ng: {v: main}\n",
        ),
        ("g/p.yaml", "v: p\nw: p\nx: p\n"),
        ("g/q.yaml", "defaults:\n  - /h@inner: r\nv: q\n"),
        ("h/r.yaml", "z: r\n"),
        ("e/one.yaml", "# @package _global_\ndefaults:\n  - override /g: q\n  - override /h: r\nx: one\n"),
        ("e/two.yaml", "# @package there.deep\ny: two\n"),
    ];
    let cases: &[(&[&str], Json)] = &[
        (&[], json!({"g": {"v": "main", "w": "p", "x": "p"}, "x": "main"})),
        (&["e=one"], json!({"g": {"inner": {"z": "r"}, "v": "main"}, "h": {"z": "r"}, "x": "one"})),
        (&["e=one", "g=p"], json!({"g": {"v": "main", "w": "p", "x": "p"}, "h": {"z": "r"}, "x": "one"})),
        (&["e=two", "~g"], json!({"x": "main", "g": {"v": "main"}, "there": {"deep": {"y": "two"}}})),
        (&["+h@new=r"], json!({"g": {"v": "main", "w": "p", "x": "p"}, "x": "main", "new": {"z": "r"}})),
    ];
    for (overrides, wanted) in cases {
        let found = resolve(files, overrides).unwrap_or_else(|error| panic!("{overrides:?}: {error}"));
        assert_eq!(&found, wanted, "{overrides:?}");
    }
    let fail = |overrides: &[&str]| resolve(files, overrides).expect_err("must fail").to_string();
    assert_says(&fail(&["g=pp"]), &["override `g=pp`: `g` has no choice `pp`", "did you mean `p`"]);
    assert_says(&fail(&["+g=q"]), &["override `+g=q`", "already chosen", "write `g=q`"]);
    assert_says(&fail(&["~g=q"]), &["the choice of `g` is not `q`"]);
    let cyclic: &[(&str, &str)] = &[("main.yaml", "defaults: [/g/p]\n"), ("g/p.yaml", "defaults: [/main]\n")];
    assert_says(&resolve(cyclic, &[]).expect_err("a cycle").to_string(), &["leads back to itself"]);
}

#[test]
fn errors_name_the_value_its_origin_the_wanted_value_and_a_remedy() {
    let cases: &[(&[&str], &[&str])] = &[
        (
            &["data.batch_size=abc"],
            &["override `data.batch_size=abc`", "is the text \"abc\"", "an integer, at least 0"],
        ),
        (&["data.batch_size=0"], &["`data.batch_size` is 0: wanted an integer, at least 1"]),
        (&["data.batch_size=64.0"], &["`data.batch_size` is 64.0", "write it without a point: `data.batch_size=64`"]),
        (&["data.batchsize=3"], &["no key `data.batchsize`", "did you mean `batch_size`", "`+data.batchsize=3` adds"]),
        (&["trainer.precision=bf17"], &["one of 32, 32-true, 64", "did you mean `bf16`"]),
        (&["split.scheme=clas"], &["one of random, stratified, class", "did you mean `class`"]),
        (&["split.forget_frac=1.5"], &["`split.forget_frac` is 1.5: wanted a number from 0 to 1"]),
        (&["split.scheme=class", "split.forget_classes=[3,10]"], &["`split.forget_classes` is [3, 10]", "from 0 to 9"]),
        (&["model.optim.lr=0"], &["`model.optim.lr` is 0", "a number above 0"]),
        (&["~model.optim.lr"], &["`model.optim.lr` is missing", "a number above 0", "++model.optim.lr="]),
        (&["model.optim.betas=[0.9]"], &["`model.optim.betas` is a list of 1: wanted a list of 2"]),
        (&["model.optim.betas=[0.9,1]"], &["two numbers from 0 to below 1"]),
        (&["model.scheduler.t_max=0"], &["`model.scheduler.t_max` is 0"]),
        (&["data.transforms.normalize.std=[1,0,1]"], &["three numbers above 0"]),
        (&["data.download=yes"], &["`data.download` is the text \"yes\": wanted true or false"]),
        (
            &["trainer.devices=some"],
            &["override `trainer.devices=some`: `trainer.devices` is the text \"some\": wanted `auto`, -1, a number"],
        ),
        (&["trainer.devices=0"], &["`trainer.devices` is 0: wanted `auto`"]),
        (&["trainer.devices=[]"], &["`trainer.devices` is a list of 0: wanted `auto`"]),
        (&["trainer.devices=[0,-1]"], &["`trainer.devices.1` is -1: wanted an integer, at least 0"]),
        (&["trainer.devices='???'"], &["`trainer.devices` must be given (`auto`, -1, a number"]),
        (
            &["data=tiny_imagenet", "data.transforms.random_erasing.value=noise"],
            &["`data.transforms.random_erasing.value` is the text \"noise\": wanted a number or `random`"],
        ),
        (&["data=tiny_imagenet", "data.transforms.random_erasing.value=inf"], &["is inf: wanted a number or `random`"]),
        (&["unlearn=regun", "unlearn.optim.lr=big"], &["`unlearn.optim.lr` is the text \"big\": wanted a number"]),
        (&["unlearn=regun", "~unlearn.optim"], &["`unlearn`", "the key `optim` is missing"]),
        (&["unlearn=regun", "unlearn.trainer.max_epochs=-1"], &["`unlearn.trainer.max_epochs` is -1", "without end"]),
        (&["trainer.max_epochs=-1"], &["`trainer.max_epochs` is -1: wanted a number of epochs", "at least 0"]),
        (&["unlearn=regun", "unlearn.trainer.max_epochs=1.5"], &["max_epochs` is 1.5: wanted a number of epochs"]),
        (&["trainer.gradient_clip_val=-1"], &["`trainer.gradient_clip_val` is -1: wanted a number above 0"]),
        (&["trainer.limit_train_batches=1.5"], &["`trainer.limit_train_batches` is 1.5: wanted a number of batches"]),
        (&["trainer.limit_val_batches=-1"], &["`trainer.limit_val_batches` is -1", "from 0.0 to 1.0"]),
        (&["trainer.overfit_batches=all"], &["`trainer.overfit_batches` is the text \"all\""]),
        (&["trainer.fast_dev_run=-1"], &["`trainer.fast_dev_run` is -1: wanted true, false or a number of batches"]),
        (&["trainer.accelerator=tpu"], &["`trainer.accelerator` is the text \"tpu\": wanted one of auto"]),
        (&["trainer.devices='0,x'"], &["`trainer.devices` is the text \"0,x\": wanted `auto`"]),
        (&["trainer.devices='0,-1'"], &["`trainer.devices` is the text \"0,-1\": wanted `auto`"]),
        (&["split.forget_classes=many"], &["`split.forget_classes` is the text \"many\": wanted a list of integers"]),
        (&["mul_eval.mia_num_models=0"], &["`mul_eval.mia_num_models` is 0"]),
        (&["model.model.label_smoothing=1"], &["no key `model.model.label_smoothing`"]),
        (&["++model.model.label_smoothing=1"], &["from 0 to below 1"]),
        (&["seed=-1"], &["`seed` is -1: wanted an integer, at least 0"]),
        (&["~checkpoint"], &["the key `checkpoint` is missing"]),
        (&["unlern=regun"], &["there is no key `unlern`"]),
        (&["hydra/launcher=submitit_slurm"], &["no group `hydra/launcher`", "mpirun", "srun --mpi=pmix"]),
        (&["hydra/sweeper=optuna"], &["no group `hydra/sweeper`", "a loop of the shell", "hydra.searchpath"]),
        (&["seed"], &["`seed` is not an override", "key=value"]),
    ];
    for (overrides, parts) in cases {
        assert_says(&failure(overrides), parts);
    }
}

#[test]
fn errors_in_files_name_line_and_column() {
    let cases: &[(&str, &str, &[&str])] = &[
        ("data/mine.yaml", "name: cifar10\n  bad: 1\n", &["data/mine.yaml:2:", "not valid YAML"]),
        ("data/mine.yaml", "a: 1\nb: 2\na: 3\n", &["data/mine.yaml:3:1: `a` is already given at", "mine.yaml:1:1"]),
        ("data/mine.yaml", "a: 1\n<<: 5\n", &["data/mine.yaml:2:1", "merge key `<<`", "got 5"]),
        ("data/mine.yaml", "[1, 2]\n", &["mine.yaml", "holds keys, not a list"]),
        ("data/mine.yaml", "defaults:\n  - overide /model: vit\n", &["mine.yaml:2:5", "did you mean `override`"]),
    ];
    for (path, text, parts) in cases {
        let folder = folder(&[(path, text)]);
        let error = load_from(Some(folder.path()), &["data=mine"], EMPTY).expect_err(text).to_string();
        assert_says(&error, parts);
    }
    let text = format!("{}\nbatch_sise: 3\n", builtin::BUILTIN.text("data/digits.yaml").expect("it is built in"));
    let folder = folder(&[("data/mine.yaml", &text)]);
    let error = load_from(Some(folder.path()), &["data=mine"], EMPTY).expect_err("unknown key").to_string();
    let line = text.lines().count();
    assert_says(&error, &[&format!("mine.yaml:{line}:1: unknown key `data.batch_sise`"), "did you mean `batch_size`"]);
    assert!(load_from(Some(Path::new("/no/such/folder")), &[], EMPTY).is_err());
}

#[test]
fn keys_without_effect_give_warnings() {
    let idle =
        ["logging.enable=true", "data.num_workers=8", "data.pin_memory=false", "trainer.enable_checkpointing=true"];
    let warnings = load(&[&["+foo=1", "+data.batch_sise=3"][..], &idle].concat()).expect("kept").warnings;
    let all = warnings.join("\n");
    assert_says(&all, &["override `+foo=1`: nothing reads `foo`", "`data.batch_sise`", "did you mean `batch_size`"]);
    assert_says(&all, &["data.num_workers, data.pin_memory", "enable_checkpointing", "logging.enable"]);
    assert_eq!(warnings.len(), 5, "{all}");
}

/// Values as users of Lightning write them.
#[test]
fn values_may_be_written_as_in_lightning() {
    let trainer = |overrides: &[&str]| load(overrides).unwrap_or_else(|error| panic!("{overrides:?}: {error}")).config;
    for classes in ["3", "[3]", "'3'", "'3,'", "'[3]'"] {
        let config = trainer(&["split.scheme=class", &format!("split.forget_classes={classes}")]);
        assert_eq!(config.split.forget_classes, [3], "{classes}");
    }
    assert_eq!(trainer(&["split.forget_classes='3, 5'"]).split.forget_classes, [3, 5]);
    let scheduler = trainer(&["model.scheduler.name=multistep", "+model.scheduler.milestones=5"]).model.scheduler;
    assert_eq!(scheduler.milestones, Some(vec![5]));
    for (written, meant) in [("cuda", Accelerator::Gpu), ("gpu", Accelerator::Gpu), ("cpu", Accelerator::Cpu)] {
        assert_eq!(trainer(&[&format!("trainer.accelerator={written}")]).trainer.accelerator, meant);
    }
    for (written, meant) in [("0", None), ("0.0", None), ("null", None), ("1", Some(1.0)), ("0.5", Some(0.5))] {
        assert_eq!(trainer(&[&format!("trainer.gradient_clip_val={written}")]).trainer.gradient_clip_val, meant);
    }
    for (written, meant) in [
        ("'0,1'", DevicesConfig::These(vec![0, 1])),
        ("'1, 0'", DevicesConfig::These(vec![1, 0])),
        ("'0,'", DevicesConfig::These(vec![0])),
        ("'[0,1]'", DevicesConfig::These(vec![0, 1])),
        ("[0,1]", DevicesConfig::These(vec![0, 1])),
        ("auto", DevicesConfig::Auto),
        ("'-1'", DevicesConfig::Count(-1)),
        ("-1", DevicesConfig::Count(-1)),
        ("1", DevicesConfig::Count(1)),
    ] {
        assert_eq!(trainer(&[&format!("trainer.devices={written}")]).trainer.devices, meant, "{written}");
    }
    // Unquoted it is a sweep, and the message says how a list is written.
    assert_says(&failure(&["trainer.devices=0,1"]), &["`trainer.devices=[0,1]`"]);
    assert_eq!(trainer(&["trainer.max_epochs=0"]).trainer.max_epochs, 0);
    assert_eq!(trainer(&["unlearn=regun", "unlearn.trainer.max_epochs=0"]).unlearn.expect("a method").max_epochs, 0);
    for (written, meant) in [
        ("1", BatchLimit::Batches(1)),
        ("1.0", BatchLimit::ALL),
        ("0.25", BatchLimit::Fraction(0.25)),
        ("0", BatchLimit::Batches(0)),
        ("null", BatchLimit::ALL),
    ] {
        assert_eq!(trainer(&[&format!("trainer.limit_train_batches={written}")]).trainer.limit_train_batches, meant);
    }
}

#[test]
fn a_fast_dev_run_is_one_epoch_of_few_batches_with_files_of_its_own() {
    let load = |value: &str| load(&["unlearn=neggradp", &format!("trainer.fast_dev_run={value}")]).expect("it loads");
    for (value, batches) in [("true", 1), ("1", 1), ("3", 3)] {
        let Loaded { config, tree, warnings, .. } = load(value);
        let (trainer, limit) = (&config.trainer, BatchLimit::Batches(batches));
        assert_eq!([trainer.limit_train_batches, trainer.limit_val_batches, trainer.limit_test_batches], [limit; 3]);
        assert_eq!((trainer.max_epochs, config.unlearn.expect("a method").max_epochs), (1, 1));
        assert_eq!(tree.get("unlearn.neggrad.epochs").map(Node::to_json), Some(json!(1)));
        assert_eq!(tree.get("model.scheduler.t_max").map(Node::to_json), Some(json!(1)));
        assert_eq!(config.paths.cache_dir, Path::new("cache/fast_dev_run"));
        assert!(config.run.base_weights.starts_with("cache/fast_dev_run/models"));
        assert_eq!(config.data.data_dir, Path::new("cache"));
        assert_says(&warnings.join("\n"), &["trainer.fast_dev_run", "cache/fast_dev_run"]);
    }
    for value in ["false", "0"] {
        let loaded = load(value);
        assert_eq!((loaded.config.trainer.max_epochs, loaded.warnings.len()), (100, 0), "{value}");
    }
}

#[test]
fn the_run_folder_has_date_and_time_in_its_path_and_can_be_chosen() {
    let run_dir = |overrides: &[&str], environment: Environment| {
        let overrides: Vec<String> = overrides.iter().map(|text| text.to_string()).collect();
        let request = Request { overrides: &overrides, ..Request::default() };
        let composed = compose_in(&request, environment).expect("a configuration");
        (composed.run_dir().expect("a folder"), composed.resolve().expect("a tree"))
    };
    let (dir, tree) =
        run_dir(&[], |name| if name == "OUTPUTS_DIR" { Ok("/o".into()) } else { Err(VarError::NotPresent) });
    let parts: Vec<_> = dir.iter().map(|part| part.to_string_lossy().into_owned()).collect();
    assert_eq!((parts[1].as_str(), parts[2].len(), parts[3].len()), ("o", "2026-11-23".len(), "12-00-00".len()));
    assert_eq!(tree.get("paths.outputs_dir").and_then(Node::as_str), dir.to_str());
    assert_eq!(run_dir(&["hydra.run.dir=here/${seed}"], EMPTY).0, Path::new("here/42"));
}

#[test]
fn a_preset_changes_its_own_method_only_and_overrides_win_over_it() {
    let files = &[
        ("main.yaml", "defaults:\n- _self_\n- unlearn: null\n- e: null\n"),
        ("unlearn/a.yaml", "name: a\nlr: 1\n"),
        ("unlearn/b.yaml", "name: b\nlr: 1\nother: {k: 2}\n"),
        ("e/tuned.yaml", "# @package _global_\npresets:\n  b: {lr: 5, other: {k: 6}}\n"),
    ];
    let unlearn = |overrides: &[&str]| resolve(files, overrides).unwrap()["unlearn"].clone();
    assert_eq!(unlearn(&["unlearn=a", "e=tuned"]), json!({"name": "a", "lr": 1}));
    assert_eq!(unlearn(&["unlearn=b", "e=tuned"]), json!({"name": "b", "lr": 5, "other": {"k": 6}}));
    assert_eq!(unlearn(&["unlearn=b", "e=tuned", "unlearn.lr=7"])["lr"], 7);
    assert!(resolve(files, &["e=tuned"]).unwrap().get("presets").is_none());
}

/// `cifar_stem` is the Python program's old spelling of `stem`.
#[test]
fn the_old_spelling_of_the_stem_is_read_where_there_is_no_new_one() {
    let old = "model:\n  name: resnet18\n  num_classes: ${data.num_classes}\n  pretrained: false\n  \
               freeze_backbone: false\n  cifar_stem: true\n";
    let shipped = include_str!("../conf/model/resnet.yaml");
    let training = &shipped[shipped.find("optim:").expect("a section")..];
    let files = folder(&[("model/old.yaml", &format!("{old}{training}"))]);
    let stem = |overrides: &[&str]| {
        let overrides = [&["model=old", "logging.enable=false"], overrides].concat();
        let loaded = load_from(Some(files.path()), &overrides, EMPTY).unwrap_or_else(|error| panic!("{error}"));
        assert!(loaded.value("model.model.cifar_stem").is_none());
        (loaded.config.model.model.stem, loaded.value("model.model.stem").unwrap_or_default(), loaded.warnings)
    };
    assert_eq!(stem(&[]), (Some(Stem::Cifar), json!("cifar"), vec![]));
    assert_eq!(stem(&["model.model.cifar_stem=false"]), (Some(Stem::None), json!("none"), vec![]));
    assert_eq!(stem(&["model.model.cifar_stem=null"]), (None, json!(null), vec![]));
    assert_eq!(stem(&["+model.model.stem=null"]), (Some(Stem::Cifar), json!("cifar"), vec![]));
    let (new, _, warnings) = stem(&["+model.model.stem=tiny_imagenet"]);
    assert_eq!(new, Some(Stem::TinyImagenet));
    assert_says(&warnings.join("\n"), &["cifar_stem has no effect", "model.model.stem=tiny_imagenet"]);

    let shipped = |overrides: &[&str]| load(overrides).map(|loaded| loaded.config.model.model.stem);
    let without = ["~model.model.stem", "model.model.cifar_stem=true"];
    assert_eq!(shipped(&without).unwrap_or_else(|error| panic!("{error}")), Some(Stem::Cifar));
    let same = ["model.model.cifar_stem=true"];
    assert_eq!(shipped(&same).unwrap_or_else(|error| panic!("{error}")), Some(Stem::Cifar));
    assert_says(&failure(&["~model.model.stem", "model.model.cifar_stem=3"]), &["cifar_stem", "true or false"]);
}
