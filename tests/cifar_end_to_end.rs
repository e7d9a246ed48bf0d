//! CIFAR-10 from its published files to results. The tests need the data: `REGUN_TEST_DATA` names a folder that holds
//! `cifar-10-batches-bin` and `cifar-10-batches-py`. Without it they count as ignored.

mod common;
mod harness;

use std::fs;
use std::path::PathBuf;

use common::Workspace;
use regun::checkpoint;
use regun::data::Images;
use regun::data::cifar::{self, CIFAR10};
use serde_json::Value;

fn main() {
    let found = data_folder().map(drop).ok_or_else(|| "REGUN_TEST_DATA is not set".to_owned());
    let tests = tests![
        the_whole_data_set_is_the_same_in_both_layouts,
        the_binary_and_the_python_files_hold_the_same_data_and_train_the_same_model,
        the_default_model_unlearns_and_reports_every_metric,
    ];
    harness::main(tests.map(|test| test.needs(&found)));
}

/// The folder of `REGUN_TEST_DATA`.
fn data_folder() -> Option<PathBuf> {
    std::env::var_os("REGUN_TEST_DATA").map(PathBuf::from)
}

fn the_whole_data_set_is_the_same_in_both_layouts() {
    let dir = data_folder().unwrap();
    let binary = cifar::load(&dir.join("cifar-10-batches-bin"), &CIFAR10, false).unwrap();
    let python = cifar::load(&dir.join("cifar-10-batches-py"), &CIFAR10, false).unwrap();
    assert!(binary == python);
    let counts = |images: &Images| {
        let mut counts = [0; 10];
        images.labels.iter().for_each(|&label| counts[label as usize] += 1);
        counts
    };
    assert_eq!(counts(&binary.train), [5000; 10]);
    assert_eq!(counts(&binary.test), [1000; 10]);
}

fn the_binary_and_the_python_files_hold_the_same_data_and_train_the_same_model() {
    let data = data_folder().unwrap();
    let models = ["cifar-10-batches-bin", "cifar-10-batches-py"].map(|layout| {
        let workspace = Workspace::new();
        fs::create_dir(workspace.path("data")).unwrap();
        std::os::unix::fs::symlink(data.join(layout), workspace.path("data").join(layout)).unwrap();
        let reference = "reference --run-idx 1 model=resnet20 data.data_dir=data data.debug_subset_size=200 \
            split.forget_frac=0.1 trainer.max_epochs=1 trainer.threads=1 trainer.precision=32";
        workspace.regun(reference).succeeds();
        let model = "cache/models/resnet20_cifar10_random_forget0.1_retrained_42-001.safetensors";
        checkpoint::load(&workspace.path(model)).unwrap_or_else(|error| panic!("{layout}: {error}"))
    });
    let [binary, python] = models;
    // The identity holds a SHA-256 digest of all pixels and labels in use.
    assert!(binary.manifest.identity.get("data content (sha256)").is_some_and(|digest| digest.len() == 64));
    assert_eq!(binary.manifest.identity, python.manifest.identity);
    assert_eq!(binary.tensors.len(), python.tensors.len());
    for (binary, python) in binary.tensors.iter().zip(&python.tensors) {
        assert_eq!(binary, python, "{}", binary.0);
    }
}

fn the_default_model_unlearns_and_reports_every_metric() {
    let data = data_folder().unwrap();
    let workspace = Workspace::new();
    let setup = format!(
        "data=cifar10 data.data_dir={} data.debug_subset_size=500 split.forget_frac=0.1 split.retain_frac=0.8 \
         mul_eval.mia_num_models=2 trainer.max_epochs=1 trainer.precision=32",
        data.display()
    );
    let unlearn = format!("unlearn unlearn=regun {setup} unlearn.trainer.max_epochs=1 hydra.run.dir=run");
    workspace.regun(&unlearn).fails(3, &["resnet18_cifar10", "regun base"]);
    for index in 1..=2 {
        workspace.regun(&format!("reference --run-idx {index} {setup}")).succeeds();
    }
    workspace.regun(&format!("base {setup} hydra.run.dir=run_base")).succeeds();
    let finished = workspace.regun(&format!("--json {unlearn}")).succeeds();

    let results: Value = serde_json::from_str(&finished.stdout).unwrap();
    let saved: Value = serde_json::from_str(&fs::read_to_string(workspace.path("run/results.json")).unwrap()).unwrap();
    let (results, saved) = (&results["regun"], &saved["regun"]);
    let fixture = format!("{}/tests/fixtures/metrics.json", env!("CARGO_MANIFEST_DIR"));
    let fixture: Value = serde_json::from_str(&fs::read_to_string(fixture).unwrap()).unwrap();
    let wanted = fixture["evaluator"]["key_order"].as_array().unwrap();
    let costs = ["seconds_unlearn", "seconds_eval", "images_per_second", "peak_memory_bytes"].map(Value::from);
    for key in wanted.iter().chain(&costs).map(|key| key.as_str().unwrap()) {
        assert!(results[key].is_f64(), "{key} is {}\n{finished}", results[key]);
        assert_eq!(results[key], saved[key], "{key}");
    }
    // The retrained model differs from the base model, and the unlearned model differs from both.
    assert!(results["divergence_forget"].as_f64().unwrap() > 0.0, "{finished}");
    let model = |path: &str| checkpoint::load(&workspace.path(path)).unwrap().checksum;
    let base = model("cache/models/resnet18_cifar10_random_forget0.1_42.safetensors");
    let retrained = model("cache/models/resnet18_cifar10_random_forget0.1_retrained_42.safetensors");
    let unlearned = model("run/unlearned.safetensors");
    assert!(base != retrained && base != unlearned && retrained != unlearned);
}
