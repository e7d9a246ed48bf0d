//! Random numbers against CPython's, and splits against those of the Python program.

use regun::config::schema::{Scheme, SplitConfig};
use regun::data::split::{SplitIndices, cut, digest, split};
use regun::error::ErrorKind;
use regun::random::python::PythonRandom;
use serde_json::Value;

fn golden() -> Value {
    serde_json::from_str(include_str!("fixtures/splits.json")).unwrap()
}

fn indices(value: &Value) -> Vec<usize> {
    value.as_array().unwrap().iter().map(|v| v.as_u64().unwrap() as usize).collect()
}

/// Labels by the formula of the fixtures.
fn labels(n: usize) -> Vec<i64> {
    (0..n as i64).map(|i| (i * i + 3 * i + i / 7) % 10).collect()
}

fn spec(scheme: Scheme) -> SplitConfig {
    SplitConfig {
        seed: 42,
        scheme,
        heldout_frac: 0.1,
        validation_frac: 0.1,
        retain_frac: 0.8,
        checks_retain_frac: true,
        forget_frac: 0.1,
        forget_classes: vec![3],
    }
}

#[test]
fn random_numbers_equal_cpythons() {
    let golden = golden();
    let seeds = golden["python_random"].as_object().unwrap();
    assert_eq!(seeds.len(), 4);
    for (seed, facts) in seeds {
        let fresh = || PythonRandom::new(seed.parse().unwrap());

        let mut rng = fresh();
        for word in facts["getrandbits32_first10"].as_array().unwrap() {
            assert_eq!(rng.getrandbits(32), word.as_u64().unwrap());
        }
        let mut rng = fresh();
        for real in facts["random_first10"].as_array().unwrap() {
            assert_eq!(rng.random(), real.as_f64().unwrap());
        }
        let mut twenty: Vec<usize> = (0..20).collect();
        fresh().shuffle(&mut twenty);
        assert_eq!(twenty, indices(&facts["shuffle_range20"]));

        let mut thousand: Vec<usize> = (0..1000).collect();
        fresh().shuffle(&mut thousand);
        assert_eq!(thousand[..20], indices(&facts["shuffle_range1000_first20"]));
        assert_eq!(digest(&thousand), facts["shuffle_range1000_sha256"]);

        let population: Vec<usize> = (100..=116).collect();
        assert_eq!(fresh().choices(&population, 12), indices(&facts["choices_100_to_116_k12"]));

        let mut rng = fresh();
        let draws = [rng.choices(&[3, 1, 4, 1, 5], 3), rng.choices(&[9], 2), rng.choices(&[2, 6], 4)];
        let both = &facts["choices_then_shuffle"];
        assert_eq!(draws.to_vec(), both["choices"].as_array().unwrap().iter().map(indices).collect::<Vec<_>>());
        let mut all = draws.concat();
        rng.shuffle(&mut all);
        assert_eq!(all, indices(&both["concatenated_then_shuffled"]));
    }
}

/// `getrandbits(k)` for every k in turn from one `random.Random(5)`: values of CPython 3.11.
#[test]
fn wide_draws_take_the_low_word_first() {
    let mut rng = PythonRandom::new(5);
    let drawn = [64, 33, 0, 1, 40].map(|bits| rng.getrandbits(bits));
    assert_eq!(drawn, [4712128852136459333, 3185950873, 0, 1, 1038052564958]);
}

#[test]
fn every_case_is_cut_like_in_python() {
    let golden = golden();
    let cases = golden["cases"].as_array().unwrap();
    assert_eq!(cases.len(), 45);
    for case in cases {
        let spec: SplitConfig = serde_json::from_value(case["split"].clone()).unwrap();
        let labels = labels(case["n"].as_u64().unwrap() as usize);
        let parts = cut(&labels, &spec);
        for (name, part) in [
            ("retain", &parts.retain),
            ("forget", &parts.forget),
            ("heldout", &parts.heldout),
            ("val", &parts.val),
            ("train_full", &parts.train()),
            ("retain_subset", &parts.retain_subset),
        ] {
            let wanted = &case["parts"][name];
            assert_eq!(part.len() as u64, wanted["len"].as_u64().unwrap(), "{name} of {}", case["split"]);
            assert_eq!(digest(part), wanted["sha256"], "{name} of {}", case["split"]);
            match wanted.get("indices") {
                Some(all) => assert_eq!(*part, indices(all)),
                None => assert_eq!(part[..20], indices(&wanted["first20"])),
            }
        }
        match split(&labels, &spec) {
            Ok(judged) => assert_eq!(SplitIndices { warnings: Vec::new(), ..judged }, parts),
            Err(error) => {
                assert!(parts.forget.is_empty(), "{error}");
                assert_eq!(error.kind(), ErrorKind::Usage);
            }
        }
    }
}

#[test]
fn the_labels_of_the_fixtures_follow_the_formula() {
    let golden = golden();
    let listed: Vec<i64> = golden["labels"]["n200"].as_array().unwrap().iter().map(|v| v.as_i64().unwrap()).collect();
    assert_eq!(labels(200), listed);
}

#[test]
fn impossible_splits_are_usage_errors() {
    let labels = labels(200);
    let refused = |spec: SplitConfig, what: &str| {
        let error = split(&labels, &spec).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Usage);
        assert!(error.message().contains(what), "{error}");
        assert!(error.hint_text().is_some());
    };
    for wrong in [-0.1, 1.5, f64::NAN, f64::INFINITY] {
        refused(SplitConfig { heldout_frac: wrong, ..spec(Scheme::Random) }, "split.heldout_frac");
        refused(SplitConfig { validation_frac: wrong, ..spec(Scheme::Random) }, "split.validation_frac");
        refused(SplitConfig { retain_frac: wrong, ..spec(Scheme::Random) }, "split.retain_frac");
        refused(SplitConfig { forget_frac: wrong, ..spec(Scheme::Random) }, "split.forget_frac");
    }
    refused(SplitConfig { forget_frac: 0.0, ..spec(Scheme::Random) }, "forget set is empty");
    refused(SplitConfig { forget_frac: 0.01, ..spec(Scheme::Stratified) }, "forget set is empty");
    refused(SplitConfig { forget_frac: 1.0, validation_frac: 0.0, ..spec(Scheme::Random) }, "retain set is empty");
    refused(SplitConfig { heldout_frac: 1.0, ..spec(Scheme::Random) }, "is empty");
    refused(SplitConfig { forget_classes: vec![], ..spec(Scheme::Class) }, "forget set is empty");
    refused(SplitConfig { forget_classes: vec![3, 10], ..spec(Scheme::Class) }, "class 10");
    refused(SplitConfig { forget_classes: vec![-1], ..spec(Scheme::Class) }, "class -1");
    // Only the scheme `class` reads them.
    let with_classes = SplitConfig { forget_classes: vec![10], ..spec(Scheme::Random) };
    assert!(split(&labels, &with_classes).unwrap() == split(&labels, &spec(Scheme::Random)).unwrap());
    assert_eq!(split(&[], &spec(Scheme::Random)).map(drop).unwrap_err().kind(), ErrorKind::Usage);
}

#[test]
fn warnings_give_the_resulting_sizes() {
    let labels = labels(50_000);
    assert_eq!(split(&labels, &spec(Scheme::Random)).unwrap().warnings, [] as [&str; 0]);
    assert_eq!(split(&labels, &spec(Scheme::Stratified)).unwrap().warnings, [] as [&str; 0]);
    let fitting = SplitConfig { retain_frac: 0.9, forget_frac: 1.0, ..spec(Scheme::Class) };
    assert_eq!(split(&labels, &fitting).unwrap().warnings, [] as [&str; 0]);

    let shipped = SplitConfig { retain_frac: 0.79, forget_frac: 0.01, ..spec(Scheme::Random) };
    let [warning] = &split(&labels, &shipped).unwrap().warnings[..] else { panic!("wanted one warning") };
    for said in ["is 0.9, not 1", "40050 images", "35550", "held-out 5000, validation 4500, forget 450, retain 40050"] {
        assert!(warning.contains(said), "{warning}");
    }
    let not_chosen = SplitConfig { checks_retain_frac: false, ..shipped };
    assert_eq!(split(&labels, &not_chosen).unwrap().warnings, [] as [&str; 0]);
    let half = SplitConfig { retain_frac: 0.4, forget_frac: 0.5, ..spec(Scheme::Random) };
    let [warning] = &split(&labels, &half).unwrap().warnings[..] else { panic!("wanted one warning") };
    assert!(warning.contains("forget has 22500 images and retain only 18000"), "{warning}");
}
