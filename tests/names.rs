//! File names equal those of the Python program.

use std::path::{Path, PathBuf};

use regun::config::{Request, load};
use regun::names::{LIGHTNING, Names, SAFETENSORS, candidates, fraction, safetensors_path};
use regun::unlearn::amun::PgdAttack;
use serde_json::Value;

fn golden() -> Value {
    serde_json::from_str(include_str!("fixtures/names.json")).unwrap()
}

/// The settings of a case that names depend on: its overrides applied to the shipped defaults.
struct Settings {
    model: String,
    dataset: String,
    scheme: String,
    forget_frac: f64,
    seed: u64,
    attack: PgdAttack,
}

impl Settings {
    fn of(case: &Value) -> Option<Self> {
        let mut it = Settings {
            model: "resnet18".into(),
            dataset: "cifar10".into(),
            scheme: "random".into(),
            forget_frac: 0.01,
            seed: 42,
            attack: PgdAttack { epsilon_init: 0.1, steps: 50, step_factor: 0.1, max_rounds: 6 },
        };
        for line in case["overrides"].as_array().unwrap() {
            let (key, value) = line.as_str().unwrap().split_once('=').unwrap();
            match key {
                "data" => it.dataset = value.into(),
                "model" => it.model = if value == "swin" { "swin_t".into() } else { it.model },
                "model.model.name" => it.model = value.into(),
                "split.scheme" => it.scheme = value.into(),
                // In Python a quoted number is text and keeps its spelling. Our fraction is a number.
                "split.forget_frac" if value.starts_with('\'') => return None,
                "split.forget_frac" => it.forget_frac = value.parse().unwrap(),
                "seed" => it.seed = value.parse().unwrap(),
                "unlearn.attack.epsilon_init" => it.attack.epsilon_init = value.parse().unwrap(),
                "unlearn.attack.steps" => it.attack.steps = value.parse().unwrap(),
                "unlearn.attack.step_factor" => it.attack.step_factor = value.parse().unwrap(),
                "unlearn.attack.max_rounds" => it.attack.max_rounds = value.parse().unwrap(),
                "split.seed" | "split.forget_classes" => {}
                other => panic!("override {other} is new to this test"),
            }
        }
        Some(it)
    }

    fn names(&self) -> Names {
        Names {
            cache_dir: PathBuf::new(),
            model: self.model.clone(),
            dataset: self.dataset.clone(),
            scheme: self.scheme.clone(),
            forget_frac: self.forget_frac,
            seed: self.seed,
        }
    }
}

fn path(value: &Value) -> PathBuf {
    PathBuf::from(value.as_str().unwrap())
}

#[test]
fn written_names_are_pythons() {
    let golden = golden();
    let mut checked = 0;
    for case in golden["cases"].as_array().unwrap() {
        let Some(settings) = Settings::of(case) else { continue };
        let names = settings.names();
        let written = &case["written"];
        assert_eq!(names.base(LIGHTNING), path(&written["base"]));
        assert_eq!(names.retrained(LIGHTNING), path(&written["retrained"]));
        for (index, reference) in written["references"].as_object().unwrap() {
            assert_eq!(names.reference(index.parse().unwrap(), LIGHTNING), path(reference));
        }
        assert_eq!(
            names.adversarial_set(&settings.attack.file_name_part(), "pt"),
            path(&case["amun_adversarial_cache"])
        );
        assert_eq!(names.base(SAFETENSORS), path(&written["base"]).with_extension("safetensors"));
        checked += 1;
    }
    assert_eq!(checked, 13);
}

/// The default paths of the Python program lead to the written files of both programs.
#[test]
fn configured_paths_lead_to_written_files() {
    let golden = golden();
    for case in golden["cases"].as_array().unwrap() {
        for (configured, written) in [("run.base_weights", "base"), ("run.retrain_weights", "retrained")] {
            let configured = path(&case["read_from_config"][configured]);
            let found = candidates(&configured);
            assert_eq!(found[0], configured);
            let written = path(&case["written"][written]);
            assert!(found.contains(&written), "{found:?} lacks {written:?}");
            assert!(found.contains(&written.with_extension("safetensors")), "{found:?}");
        }
        if Settings::of(case).is_none() {
            continue;
        }
        // The evaluation cache is configured under the same name, but for the extension.
        let mut overrides: Vec<String> = serde_json::from_value(case["overrides"].clone()).unwrap();
        overrides.insert(0, "unlearn=amun".into()); // some cases set its keys
        let config = load(&Request { overrides: &overrides, ..Request::default() }).unwrap().config;
        let (configured, written) = (&config.mul_eval.cache, path(&case["eval_cache"]));
        assert_eq!(safetensors_path(configured).file_name(), safetensors_path(&written).file_name());
    }
}

#[test]
fn names_that_end_in_a_setting_keep_it() {
    for (configured, kept) in [
        ("eval/a_forget0.1_refs", "eval/a_forget0.1_refs.safetensors"),
        ("eval/a_forget0.25_refs", "eval/a_forget0.25_refs.safetensors"),
        ("eval/lr0.1", "eval/lr0.1.safetensors"),
        ("eval/refs", "eval/refs.safetensors"),
        ("eval/v1.0.pt", "eval/v1.0.safetensors"),
        ("eval/a.pth", "eval/a.safetensors"),
        ("eval/a.ckpt", "eval/a.safetensors"),
        ("eval/a.safetensors", "eval/a.safetensors"),
        ("eval.d/.hidden", "eval.d/.hidden.safetensors"),
    ] {
        assert_eq!(safetensors_path(Path::new(configured)), Path::new(kept), "{configured}");
    }
}

#[test]
fn candidates_come_in_order_and_without_repeats() {
    let candidates = |text: &str| -> Vec<String> {
        candidates(Path::new(text)).iter().map(|path| path.to_str().unwrap().to_string()).collect()
    };
    assert_eq!(
        candidates("c/m_class_forget1.0_42.ckpt"),
        [
            "c/m_class_forget1.0_42.ckpt",
            "c/m_class_forget1.0_42.safetensors",
            "c/m_class_forget1_42.ckpt",
            "c/m_class_forget1_42.safetensors",
        ]
    );
    assert_eq!(candidates("m_class_forget1_42.ckpt")[2], "m_class_forget1.0_42.ckpt");
    assert_eq!(candidates("a/mine.safetensors"), ["a/mine.safetensors", "a/mine.ckpt"]);
    // A name without a known extension has no other candidate.
    assert_eq!(candidates("m_forget0.5_42"), ["m_forget0.5_42"]);
    assert_eq!(candidates("m_forgetful_42.ckpt"), ["m_forgetful_42.ckpt", "m_forgetful_42.safetensors"]);
}

#[test]
fn fractions_have_six_decimals_without_trailing_zeros() {
    let golden = golden();
    for row in golden["fraction_format"].as_array().unwrap() {
        if let Some(value) = row["value"].as_f64() {
            assert_eq!(fraction(value), row["text"].as_str().unwrap(), "{row}");
        }
    }
}

#[test]
fn reference_numbers_are_padded_to_three_digits() {
    let golden = golden();
    let names = Names {
        cache_dir: "c".into(),
        model: "m".into(),
        dataset: "d".into(),
        scheme: "s".into(),
        forget_frac: 0.5,
        seed: 1,
    };
    for (index, text) in golden["reference_index_format"].as_object().unwrap() {
        let name = format!("c/models/m_d_s_forget0.5_retrained_1-{}.ckpt", text.as_str().unwrap());
        assert_eq!(names.reference(index.parse().unwrap(), LIGHTNING), PathBuf::from(name));
    }
}
