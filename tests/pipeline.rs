//! The three steps from end to end on a small data set: the files of a run, results that repeat to the bit, and the
//! effects of settings.

mod common;
mod mpirun;
#[path = "common/trained.rs"]
mod trained;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::Output;

use common::Workspace;
use mpirun::{finish, mpirun, said};
use regun::checkpoint::{self, Checkpoint};
use serde_json::{Map, Value};
use trained::{BASE, REFERENCE_1, RETRAINED, SETUP, files_in, trained};

const CACHE: &str = "cache/eval/resnet20_digits_random_forget0.2_42_cached_references.safetensors";
/// Unlearning in two epochs with an evaluation after each.
const UNLEARN: &str = "unlearn.trainer.max_epochs=2 unlearn.evaluate_each_epoch=true";

/// A setup that trains within a second, in one step.
const SMALL: &str = "data=digits model=resnet20 data.debug_subset_size=100 split.forget_frac=0.2 \
    mul_eval.mia_num_models=1 trainer.max_epochs=1 unlearn.trainer.max_epochs=1 trainer.threads=1 trainer.precision=32";

fn read_json(path: &Path) -> Value {
    let text = fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}\n{text}", path.display()))
}

fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(object) => object,
        other => panic!("not an object: {other}"),
    }
}

fn results(workspace: &Workspace, run: &str) -> Map<String, Value> {
    object(read_json(&workspace.path(run).join("results.json")))
}

/// The metrics of one model in the results of a run.
fn metrics(workspace: &Workspace, run: &str, model: &str) -> Map<String, Value> {
    object(results(workspace, run)[model].clone())
}

/// Results of a run without times, speed, memory and flags.
fn findings(mut results: Map<String, Value>) -> Map<String, Value> {
    let costs = [
        "seconds_train",
        "seconds_unlearn",
        "seconds_eval",
        "images_per_second",
        "peak_memory_bytes",
        "peak_gpu_memory_bytes",
    ];
    results.remove("flags");
    for metrics in results.values_mut() {
        metrics.as_object_mut().unwrap().retain(|key, _| !costs.contains(&key.as_str()));
    }
    results
}

fn load(workspace: &Workspace, path: &str) -> Checkpoint {
    checkpoint::load(&workspace.path(path)).unwrap_or_else(|error| panic!("{error}"))
}

/// The largest change of each tensor from one checkpoint to another.
fn changes(from: &Checkpoint, to: &Checkpoint) -> BTreeMap<String, f64> {
    assert_eq!(from.tensors.len(), to.tensors.len());
    let change = |(a, b): (&(String, tch::Tensor), &(String, tch::Tensor))| {
        assert_eq!(a.0, b.0);
        let difference = a.1.to_kind(tch::Kind::Double) - b.1.to_kind(tch::Kind::Double);
        (a.0.clone(), difference.abs().max().double_value(&[]))
    };
    from.tensors.iter().zip(&to.tensors).map(change).collect()
}

fn is_running_statistic(name: &str) -> bool {
    ["running_mean", "running_var", "num_batches_tracked"].iter().any(|suffix| name.ends_with(suffix))
}

/// Inode of a file. Writing a file again changes its inode.
fn inode(workspace: &Workspace, path: &str) -> u64 {
    fs::metadata(workspace.path(path)).unwrap_or_else(|error| panic!("{path}: {error}")).ino()
}

/// The metrics of the Python benchmark, in its order.
fn metric_names() -> Vec<String> {
    let fixture = format!("{}/tests/fixtures/metrics.json", env!("CARGO_MANIFEST_DIR"));
    let names = read_json(fixture.as_ref())["evaluator"]["key_order"].clone();
    serde_json::from_value(names).unwrap()
}

// ---------------------------------------------------------------------------------------------------------------------
// Files of a run

#[test]
fn evaluate_repeats_the_numbers_of_every_unlearning_run() {
    let workspace = trained();
    let untouched = files_in(&workspace.path("cache/models"));
    for (run, method) in [
        ("class_informed", "unlearn=regun unlearn.regun.selector=class_informed"),
        ("uniform", "unlearn=regun unlearn.regun.selector=uniform"),
        ("feature_1nn", "unlearn=regun unlearn.regun.selector=feature_1nn"),
        ("mean_logits", "unlearn=regun unlearn.regun.aggregation=mean_logits unlearn.regun.fixed_reference=false"),
        ("finetune", "unlearn=finetune"),
        ("neggrad", "unlearn=neggrad"),
    ] {
        let unlearn = workspace.regun(&format!("--json unlearn {method} {SETUP} {UNLEARN} hydra.run.dir={run}"));
        let unlearn = unlearn.succeeds();
        let printed: Map<String, Value> = serde_json::from_str(&unlearn.stdout)
            .unwrap_or_else(|error| panic!("standard output is not one JSON object: {error}\n{unlearn}"));
        let saved = results(&workspace, run);
        assert!(saved["flags"].is_array(), "{unlearn}");
        assert_eq!(printed, saved, "printed and saved results differ\n{unlearn}");
        let name = method.split_whitespace().next().unwrap().strip_prefix("unlearn=").unwrap();
        assert_eq!(saved.keys().collect::<Vec<_>>(), [name, "flags"]);
        let metrics = &saved[name];
        for metric in metric_names() {
            assert!(metrics[&metric].is_f64(), "{metric} is {}", metrics[&metric]);
        }
        for cost in ["seconds_unlearn", "seconds_eval", "images_per_second", "peak_memory_bytes"] {
            assert!(metrics[cost].as_f64().unwrap() > 0.0, "{cost} is {}", metrics[cost]);
        }

        let weights = format!("{run}/unlearned.safetensors");
        let evaluate = format!("--json evaluate --checkpoint {weights} {SETUP} hydra.run.dir={run}_evaluated");
        let evaluate = workspace.regun(&evaluate).succeeds();
        let again: Map<String, Value> = serde_json::from_str(&evaluate.stdout).unwrap();
        assert_eq!(findings(again), findings(saved), "evaluate and unlearn disagree\n{evaluate}");

        let moved = changes(&load(&workspace, BASE), &load(&workspace, &weights));
        for (name, change) in moved {
            assert!(change > 0.0, "{run} did not move {name}");
        }
    }
    assert!(files_in(&workspace.path("cache/models")) == untouched, "unlearning touched the cached models");
    let runs = ["class_informed", "uniform", "feature_1nn", "mean_logits", "finetune", "neggrad"];
    for (i, run) in runs.iter().enumerate() {
        let weights = |run: &str| load(&workspace, &format!("{run}/unlearned.safetensors")).checksum;
        for other in &runs[..i] {
            assert_ne!(weights(run), weights(other), "{run} and {other} have the same weights");
        }
    }
}

#[test]
fn base_reports_two_models_under_their_names_and_each_reference_reports_its_accuracies() {
    let workspace = trained();
    let saved = results(&workspace, "run_base");
    assert_eq!(saved.keys().collect::<Vec<_>>(), ["base", "retrained", "flags"]);
    for model in ["base", "retrained"] {
        for metric in metric_names() {
            assert!(saved[model][&metric].is_f64(), "{metric} of {model} is {}", saved[model][&metric]);
        }
        assert!(saved[model]["seconds_train"].as_f64().unwrap() > 0.0);
    }
    // The retrained model is compared with itself.
    for key in ["divergence_retain", "divergence_forget", "average_gap", "forget_entropy_gap_retrained"] {
        assert_eq!(saved["retrained"][key], 0.0, "{key}");
    }
    assert!(saved["base"]["average_gap"].as_f64().unwrap() > 0.0);
    for index in [1, 2] {
        let reference = metrics(&workspace, &format!("run_{index}"), &format!("reference_{index}"));
        for key in ["acc_eval", "acc_test"] {
            assert!((0.0..=1.0).contains(&reference[key].as_f64().unwrap()), "{key} is {}", reference[key]);
        }
    }
    // References train on the images of the retrained model with other seeds. The base model trains on more images.
    let paths = [BASE, RETRAINED, REFERENCE_1];
    let [base, retrained, reference] = paths.map(|path| load(&workspace, path));
    assert_ne!(base.checksum, retrained.checksum);
    assert_ne!(reference.checksum, retrained.checksum);
    for (checkpoint, role, seed) in
        [(base, "base", "42"), (retrained, "retrained", "42"), (reference, "reference 1", "43")]
    {
        let identity = &checkpoint.manifest.identity;
        assert_eq!((identity.get("role"), identity.get("seed")), (Some(role), Some(seed)));
        assert_eq!((identity.get("model"), identity.get("classes")), (Some("resnet20"), Some("10")));
        assert_eq!(checkpoint.manifest.epoch, 1);
        for (name, tensor) in &checkpoint.tensors {
            assert!(tensor.isfinite().all().int64_value(&[]) == 1, "{name} of {role} is not finite");
        }
    }
}

#[test]
fn the_folder_of_a_run_is_complete() {
    let workspace = trained();
    let run = workspace.regun(&format!("unlearn unlearn=regun {SETUP} {UNLEARN} hydra.run.dir=run_unlearn")).succeeds();
    // The steps of an epoch: retain has 189 images, forget 54, a batch 32. The base model trains on both.
    for (folder, command, phases, steps, last_file) in [
        ("run_1", "reference", &["reference 1/train"][..], &[6][..], REFERENCE_1),
        ("run_base", "base", &["base/train", "retrained/train"], &[8, 6], BASE),
        ("run_unlearn", "unlearn", &["unlearn/regun/unlearn"; 2], &[2, 2], "run_unlearn/unlearned.safetensors"),
    ] {
        let state = read_json(&workspace.path(folder).join("run.json"));
        assert_eq!((&state["state"], &state["exit_code"]), (&"done".into(), &0.into()), "{folder}");
        assert_eq!((&state["command"], &state["seed"], &state["ranks"]), (&command.into(), &42.into(), &1.into()));
        assert_eq!(state["versions"]["regun"], env!("CARGO_PKG_VERSION"));
        assert!(state["versions"]["libtorch"].as_str().unwrap().starts_with("2."), "{state}");
        assert!(!state["hosts"][0].as_str().unwrap().is_empty(), "{state}");
        assert!(state["seconds"].as_f64().unwrap() > 0.0 && state["started"].is_string(), "{state}");
        assert_eq!(state["split_sizes"]["forget"], 54, "{state}");
        assert_eq!(state["gpus"].as_array().unwrap().len(), 1, "{state}");
        assert_is_commit(state["versions"]["commit"].as_str().unwrap());

        let lines = fs::read_to_string(workspace.path(folder).join("metrics.jsonl")).unwrap();
        let lines: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(lines.iter().map(|line| line["phase"].as_str().unwrap()).collect::<Vec<_>>(), phases);
        for (line, steps) in lines.iter().zip(steps) {
            let epoch = line["epoch"].as_u64().unwrap();
            assert!(epoch >= 1 && line["global_step"] == epoch * steps, "{line}");
            let numbers = ["train/loss", "train/acc", "train/acc_micro", "val/loss", "val/acc", "val/acc_micro"];
            for key in numbers.into_iter().chain(["lr", "images_per_second", "seconds"]) {
                assert!(line[key].is_f64(), "{key} of {line}");
            }
            let time = line["time"].as_str().unwrap();
            assert!(time > state["started"].as_str().unwrap() && time.contains('T'), "{line}");
        }
        assert!(lines.is_sorted_by_key(|line| line["seconds"].as_f64().unwrap()));

        let log = fs::read_to_string(workspace.path(folder).join("train.log")).unwrap();
        assert!(log.contains("epoch 1/") && log.contains(" INFO "), "{folder}/train.log:\n{log}");
        assert!(workspace.path(last_file).exists(), "{last_file}\n{run}");
        let names: Vec<_> = workspace.path(folder).read_dir().unwrap().map(|e| e.unwrap().file_name()).collect();
        assert!(names.iter().all(|name| !name.to_string_lossy().starts_with('.')), "left behind: {names:?}");
    }

    // The evaluation after the last epoch is the final one.
    let lines = fs::read_to_string(workspace.path("run_unlearn/metrics.jsonl")).unwrap();
    let last: Map<String, Value> = serde_json::from_str(lines.lines().last().unwrap()).unwrap();
    let saved = metrics(&workspace, "run_unlearn", "regun");
    for metric in metric_names() {
        assert_eq!(last[&format!("evaluate/{metric}")], saved[&metric], "{metric}");
    }
    // The accuracies of the log are those of the results.
    let lines = fs::read_to_string(workspace.path("run_unlearn/metrics.jsonl")).unwrap();
    for line in lines.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()) {
        assert_eq!(line["val/acc_micro"], line["evaluate/acc_eval"], "{line}");
        let accuracy = |part: &str| line[format!("evaluate/acc_{part}")].as_f64().unwrap();
        let of_train = format!("acc(retain) {:.3} acc(forget) {:.3}", accuracy("retain"), accuracy("forget"));
        let of_others = format!("acc(test) {:.3} | val loss", accuracy("test"));
        for part in [of_train, of_others, format!(" acc {:.3} | lr", accuracy("eval"))] {
            assert!(run.stderr.contains(&part), "the log does not say {part:?}\n{run}");
        }
    }
    let lines = fs::read_to_string(workspace.path("run_base/metrics.jsonl")).unwrap();
    for (line, model) in lines.lines().zip(["base", "retrained"]) {
        let line: Value = serde_json::from_str(line).unwrap();
        assert_eq!(line["val/acc_micro"], metrics(&workspace, "run_base", model)["acc_eval"], "{model}: {line}");
    }
    // The image counter covers two epochs over 54 forget images.
    let work = &read_json(&workspace.path("run_unlearn/run.json"))["work"][0];
    assert_eq!(work["images"]["unlearn/regun/forget"], 108, "{work}");
}

/// A commit of git, with a mark if sources differ from it; or unknown, where the sources are not in a repository.
fn assert_is_commit(text: &str) {
    let commit = text.strip_suffix("-dirty").unwrap_or(text);
    assert!(commit == "unknown" || commit.len() == 40 && commit.chars().all(|c| c.is_ascii_hexdigit()), "{text}");
}

#[test]
fn a_run_from_the_saved_configuration_of_another_repeats_it() {
    let workspace = trained();
    let unlearn = format!("unlearn unlearn=neggrad {SETUP} {UNLEARN} trainer.gradient_clip_val=1 hydra.run.dir=first");
    workspace.regun(&unlearn).succeeds();
    let resolved = |arguments: &str| {
        let finished = workspace.regun(&format!("--json config --resolve {arguments}")).succeeds();
        let mut tree = object(serde_json::from_str(&finished.stdout).unwrap());
        tree.remove("paths");
        tree
    };
    let overrides = unlearn.strip_prefix("unlearn ").unwrap();
    assert_eq!(resolved("--config-dir first --config-name config"), resolved(overrides));
    workspace.regun("unlearn --config-dir first --config-name config hydra.run.dir=second").succeeds();
    assert_eq!(findings(results(&workspace, "first")), findings(results(&workspace, "second")));
    let weights = |run: &str| load(&workspace, &format!("{run}/unlearned.safetensors")).checksum;
    assert_eq!(weights("first"), weights("second"));
}

#[test]
fn the_step_names_of_the_python_program_work_and_a_run_repeats_to_the_bit() {
    let first = trained();
    let second = Workspace::new();
    for run in [
        "run1 --run-idx 1 hydra.run.dir=run_1",
        "run1 --run-idx 2 hydra.run.dir=run_2",
        "run2 hydra.run.dir=run_base",
        "run3 unlearn=regun hydra.run.dir=run_unlearn",
    ] {
        second.regun(&format!("{run} {SETUP}")).succeeds();
    }
    first.regun(&format!("unlearn unlearn=regun {SETUP} hydra.run.dir=run_unlearn")).succeeds();
    let models = files_in(&first.path("cache"));
    assert_eq!(models.len(), 5);
    assert!(models == files_in(&second.path("cache")), "checkpoints or cache differ");
    let unlearned = "run_unlearn/unlearned.safetensors";
    assert!(fs::read(first.path(unlearned)).unwrap() == fs::read(second.path(unlearned)).unwrap());
    for run in ["run_base", "run_unlearn"] {
        assert_eq!(findings(results(&first, run)), findings(results(&second, run)), "{run}");
    }
}

#[test]
fn a_second_run_with_the_same_folder_gets_a_folder_of_its_own() {
    let workspace = trained();
    for folder in ["same", "same-1"] {
        workspace
            .regun(&format!("unlearn unlearn=finetune {SETUP} unlearn.trainer.max_epochs=1 hydra.run.dir=same"))
            .succeeds();
        assert!(workspace.path(folder).join("results.json").exists());
    }
}

// ---------------------------------------------------------------------------------------------------------------------
// The evaluation cache

#[test]
fn the_evaluation_cache_is_used_until_a_model_changes_and_rebuilt_when_damaged() {
    let workspace = trained();
    let evaluate = |run: &str| {
        let finished = workspace.regun(&format!("evaluate --checkpoint {BASE} {SETUP} hydra.run.dir={run}")).succeeds();
        (metrics(&workspace, run, "base"), finished.stderr)
    };
    let kept = inode(&workspace, CACHE);
    let (first, _) = evaluate("first");
    assert_eq!(inode(&workspace, CACHE), kept, "the cache was written again although it fits");

    // Without the cache the numbers are the same.
    fs::remove_file(workspace.path(CACHE)).unwrap();
    let (anew, _) = evaluate("anew");
    assert_eq!(anew, first);

    // A damaged cache is renamed and rebuilt, and a warning names it.
    let mut bytes = fs::read(workspace.path(CACHE)).unwrap();
    let at = bytes.len() - 100;
    bytes[at] ^= 4;
    fs::write(workspace.path(CACHE), &bytes).unwrap();
    let (mended, said) = evaluate("mended");
    let aside = format!("{CACHE}.corrupt");
    assert!(said.contains(CACHE) && said.contains(&aside), "the warning does not name both files:\n{said}");
    assert!(fs::read(workspace.path(&aside)).unwrap() == bytes, "the renamed file is not the damaged one");
    assert_eq!(mended, first);

    // Another reference model gives other numbers, and a flag about the different training.
    let reference = format!("reference --run-idx 1 {SETUP} trainer.max_epochs=2");
    workspace.regun(&reference).succeeds();
    let rebuilt = inode(&workspace, CACHE);
    let (other, said) = evaluate("other");
    assert_ne!(inode(&workspace, CACHE), rebuilt, "the cache of another reference model was used");
    assert!(said.contains("reference 1") && said.contains("trainer.max_epochs"), "{said}");
    assert_ne!(other["rmia_auc"], first["rmia_auc"]);
    assert_eq!(other["smia_loss_auc"], first["smia_loss_auc"], "a metric without references changed");
    let flags = results(&workspace, "other")["flags"].to_string();
    assert!(flags.contains("trained differently"), "{flags}");
}

#[test]
fn evaluation_uses_the_numbers_of_the_cache() {
    let workspace = trained();
    let evaluate = |run: &str| {
        workspace.regun(&format!("evaluate --checkpoint {BASE} {SETUP} hydra.run.dir={run}")).succeeds();
        metrics(&workspace, run, "base")
    };
    let honest = evaluate("honest");
    // A cache with the same key and other reference probabilities. An evaluation that ran the references again would
    // not show the difference.
    let cache = load(&workspace, CACHE);
    let forged = cache.tensors.iter().map(|(name, tensor)| match name.starts_with("references/test") {
        true => (name.clone(), tensor.full_like(1e-3)),
        false => (name.clone(), tensor.shallow_clone()),
    });
    checkpoint::save(&workspace.path(CACHE), &cache.manifest, &forged.collect::<Vec<_>>()).unwrap();
    let forged = evaluate("forged");
    assert_ne!(forged["rmia_auc"], honest["rmia_auc"]);
    assert_eq!(forged["acc_test"], honest["acc_test"]);
}

// ---------------------------------------------------------------------------------------------------------------------
// All steps in one

#[test]
fn the_pipeline_trains_missing_models_and_ends_with_a_table() {
    let whole = Workspace::new();
    let pipeline =
        format!("pipeline --methods regun,finetune,neggrad {SETUP} unlearn.trainer.max_epochs=2 hydra.run.dir=");
    let run = whole.regun(&format!("{pipeline}all")).succeeds();
    let header = run.stdout.lines().find(|line| line.starts_with("model")).unwrap_or_else(|| panic!("no table\n{run}"));
    let titles: Vec<&str> = header.split_whitespace().collect();
    assert_eq!(titles, ["model", "base", "retrained", "ReGUn", "Finetune", "NegGrad"]);
    for row in ["accuracy forget", "accuracy test", "RMIA AUC", "average gap"] {
        assert!(run.stdout.lines().any(|line| line.starts_with(row)), "no row {row}\n{run}");
    }
    for folder in ["reference_1", "reference_2", "base", "regun", "finetune", "neggrad"] {
        assert!(whole.path("all").join(folder).join("results.json").exists(), "{folder}\n{run}");
    }

    // The models equal those of single commands, and only missing ones are trained.
    let parts = trained();
    assert!(files_in(&parts.path("cache/models")).keys().eq(files_in(&whole.path("cache/models")).keys()));
    for path in [BASE, RETRAINED, REFERENCE_1] {
        assert_eq!(load(&parts, path).checksum, load(&whole, path).checksum, "{path}");
    }
    fs::remove_file(parts.path(REFERENCE_1)).unwrap();
    let kept = inode(&parts, BASE);
    let run = parts.regun(&format!("--json {pipeline}all")).succeeds();
    assert_eq!(inode(&parts, BASE), kept, "base was trained again\n{run}");
    assert!(parts.path(REFERENCE_1).exists(), "{run}");
    let printed: Map<String, Value> = serde_json::from_str(&run.stdout).unwrap_or_else(|e| panic!("{e}\n{run}"));
    assert_eq!(printed.keys().collect::<Vec<_>>(), ["base", "retrained", "regun", "finetune", "neggrad", "flags"]);
    assert_eq!(printed, results(&parts, "all"));
    for method in ["regun", "finetune", "neggrad"] {
        let single = metrics(&whole, &format!("all/{method}"), method);
        for metric in metric_names() {
            assert_eq!(printed[method][&metric], single[&metric], "{metric} of {method}");
        }
    }
}

#[test]
fn a_pipeline_has_the_files_of_a_run_and_one_for_each_step() {
    let workspace = Workspace::new();
    let run = format!("pipeline --methods finetune,neggrad {SMALL} hydra.run.dir=all");
    let run = workspace.regun(&run).succeeds();
    let state = read_json(&workspace.path("all/run.json"));
    assert_eq!((&state["state"], &state["exit_code"], &state["ranks"]), (&"done".into(), &0.into(), &1.into()));
    assert_eq!((&state["command"], &state["seed"]), (&"pipeline".into(), &42.into()));
    assert_eq!(state["methods"], serde_json::json!(["finetune", "neggrad"]));
    let arguments: Vec<&str> =
        state["arguments"].as_array().unwrap().iter().map(|word| word.as_str().unwrap()).collect();
    assert!(arguments[1..].join(" ").starts_with("pipeline --methods finetune,neggrad data=digits"), "{state}");
    assert!(state["seconds"].as_f64().unwrap() > 0.0 && state["hosts"].is_array() && state["versions"].is_object());
    let log = fs::read_to_string(workspace.path("all/train.log")).unwrap();
    for line in ["reference 1 epoch 1/1", "base epoch 1/1", "unlearn/neggrad epoch 1/1"] {
        assert!(log.contains(line), "{line}\n{log}");
    }
    // The models before unlearning can be made again from its configuration, which holds no method if there are several.
    let config = workspace.regun("--json config --resolve --config-dir all --config-name config").succeeds();
    let config: Value = serde_json::from_str(&config.stdout).unwrap();
    assert_eq!((&config["data"]["debug_subset_size"], config.get("unlearn")), (&100.into(), None), "{config}");
    for step in ["reference_1", "base", "finetune", "neggrad"] {
        let state = read_json(&workspace.path("all").join(step).join("run.json"));
        assert_eq!(state["state"], "done", "{step}\n{run}");
        assert!(workspace.path("all").join(step).join("config.yaml").exists(), "{step}");
    }
    let keys: Vec<String> = results(&workspace, "all").keys().cloned().collect();
    assert_eq!(keys, ["base", "retrained", "finetune", "neggrad", "flags"]);

    // A failed step is the end of the pipeline, and its state says so.
    let fails =
        format!("pipeline --methods neggrad {SMALL} unlearn.optim.lr=1e30 data.batch_size=32 hydra.run.dir=fails");
    workspace.regun(&fails).fails(73, &["unlearn/neggrad"]);
    for folder in ["fails", "fails/neggrad"] {
        let state = read_json(&workspace.path(folder).join("run.json"));
        assert_eq!((&state["state"], &state["exit_code"]), (&"failed".into(), &73.into()), "{folder}");
        let error = state["error"].as_str().unwrap();
        let log = fs::read_to_string(workspace.path(folder).join("train.log")).unwrap();
        assert!(log.contains("ERROR") && log.contains(error), "{error}\n{log}");
    }
    assert!(!workspace.path("fails/results.json").exists());
}

/// Overrides that a shell or Hydra would read otherwise without quotes.
const ODD: [&str; 6] = [
    "logging.name='a, b'",
    "run.experiment_id=\"it's $HOME (1) `id` !\"",
    "+mine=[1, {a: 2}]",
    "+back='\\\\ slash'",
    "+lines='one\ntwo'",
    "hydra.run.dir='out (Köln) [1], {2} $3 & #4'",
];

#[test]
fn the_printed_commands_work_in_a_shell() {
    let workspace = Workspace::new();
    let mut run = workspace.prepare(&format!("pipeline unlearn=finetune {SMALL}"));
    run.command.args(ODD);
    let run = run.run().succeeds();
    let (_, next) = run.stdout.split_once("next:").unwrap_or_else(|| panic!("no next commands\n{run}"));
    let lines: Vec<&str> = next.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    assert_eq!(lines.len(), 2, "{run}");
    let bash = |script: &str| {
        let mut bash = std::process::Command::new("bash");
        bash.args(["-c", script]).current_dir(workspace.path("")).env("OMP_WAIT_POLICY", "passive");
        finish(bash)
    };
    for line in &lines {
        let words = String::from_utf8(bash(&format!("printf '%s\\0' {line}")).stdout).unwrap();
        let words: Vec<&str> = words.split_terminator('\0').collect();
        let overrides = words.iter().position(|word| *word == "unlearn=finetune").unwrap();
        assert_eq!(words[words.len() - ODD.len()..], ODD, "{line}");
        assert_eq!(words[overrides..words.len() - ODD.len()].join(" "), format!("unlearn=finetune {SMALL}"));
    }
    let evaluated = bash(lines[1]);
    assert!(evaluated.status.success(), "{}\n{}", lines[1], said(&evaluated));
    assert!(String::from_utf8_lossy(&evaluated.stdout).contains("Finetune"), "{}", said(&evaluated));
}

#[test]
fn the_pipeline_never_replaces_a_damaged_model() {
    let workspace = trained();
    let pipeline = format!("pipeline --methods finetune {SETUP} hydra.run.dir=all");
    for (path, command) in [(BASE, "`regun base`"), (REFERENCE_1, "`regun reference --run-idx 1`")] {
        let good = fs::read(workspace.path(path)).unwrap();
        fs::write(workspace.path(path), &good[..good.len() / 2]).unwrap();
        let before = files_in(&workspace.path("cache"));
        workspace.regun(&pipeline).fails(3, &[path, "damaged", "hint: ", command]);
        assert!(files_in(&workspace.path("cache")) == before, "the cache was touched");
        fs::write(workspace.path(path), good).unwrap();
    }
    // A pipeline that is refused before its first run leaves no folder.
    workspace
        .regun(&format!("{pipeline}_refused data=cifar10 data.data_dir=nowhere data.download=false"))
        .fails(3, &["CIFAR-10", "nowhere"]);
    assert!(!workspace.path("all_refused").exists());
}

// ---------------------------------------------------------------------------------------------------------------------
// Settings

#[test]
fn with_a_frozen_backbone_only_the_head_moves() {
    let workspace = trained();
    workspace
        .regun(&format!("unlearn unlearn=regun {SETUP} model.model.freeze_backbone=true hydra.run.dir=run"))
        .succeeds();
    let moved = changes(&load(&workspace, BASE), &load(&workspace, "run/unlearned.safetensors"));
    let (head, backbone): (Vec<_>, Vec<_>) =
        moved.iter().filter(|(name, _)| !is_running_statistic(name)).partition(|(name, _)| name.starts_with("fc."));
    assert_eq!(head.len(), 2, "{head:?}");
    assert!(head.iter().all(|(_, change)| **change > 0.0), "{head:?}");
    assert!(backbone.len() > 20 && backbone.iter().all(|(_, change)| **change == 0.0), "{backbone:?}");
}

#[test]
fn with_a_tiny_gradient_limit_the_weights_hardly_move() {
    let workspace = trained();
    let unlearn = format!("unlearn unlearn=neggrad {SETUP} unlearn.trainer.max_epochs=2 unlearn.optim.weight_decay=0");
    workspace.regun(&format!("{unlearn} hydra.run.dir=free")).succeeds();
    workspace.regun(&format!("{unlearn} trainer.gradient_clip_val=1e-6 hydra.run.dir=clipped")).succeeds();
    let base = load(&workspace, BASE);
    let largest = |run: &str| {
        let moved = changes(&base, &load(&workspace, &format!("{run}/unlearned.safetensors")));
        moved.into_iter().filter(|(name, _)| !is_running_statistic(name)).map(|(_, change)| change).fold(0.0, f64::max)
    };
    let (free, clipped) = (largest("free"), largest("clipped"));
    assert!(free > 1e-3, "{free}");
    // Each of four steps moves a weight by at most lr (1 + momentum + ...) times the limit, plus the rounding error
    // of a weight near 1.
    assert!(clipped < 1e-6, "{clipped}");
}

#[test]
fn precision_64_keeps_every_tensor_in_float64() {
    let workspace = Workspace::new();
    let pipeline = format!("pipeline --methods regun {SETUP} trainer.precision=64 hydra.run.dir=all");
    workspace.regun(&pipeline).succeeds();
    for path in [BASE, RETRAINED, REFERENCE_1, "all/regun/unlearned.safetensors"] {
        for (name, tensor) in load(&workspace, path).tensors {
            let wanted = if name.ends_with("num_batches_tracked") { tch::Kind::Int64 } else { tch::Kind::Double };
            assert_eq!(tensor.kind(), wanted, "{name} of {path}");
        }
    }
    // One step from the same start, in both precisions. Only tensors with small rounding effects are compared: a ReLU
    // whose input changes its sign changes the gradients of all layers before it.
    for (precision, cache) in [("32", "single"), ("64", "double")] {
        let reference = format!("reference --run-idx 1 {SETUP} data.batch_size=1000 trainer.precision={precision}");
        workspace.regun(&format!("{reference} paths.cache_dir={cache}")).succeeds();
    }
    let name = REFERENCE_1.strip_prefix("cache").unwrap();
    let mut moved = changes(&load(&workspace, &format!("single{name}")), &load(&workspace, &format!("double{name}")));
    moved.retain(|name, _| is_running_statistic(name) || name.starts_with("fc."));
    let largest = moved.into_values().fold(0.0, f64::max);
    assert!(largest > 0.0 && largest < 1e-5, "{largest}");
}

/// Runs `regun` on `n` ranks in a workspace. Fails if the command fails.
fn regun_on(n: usize, workspace: &Workspace, arguments: &str) -> Output {
    let mut command = mpirun(n);
    command.arg(env!("CARGO_BIN_EXE_regun")).args(arguments.split_whitespace()).current_dir(workspace.path(""));
    let output = finish(command);
    assert!(output.status.success(), "{arguments} on {n} ranks: {}", said(&output));
    output
}

#[test]
fn evaluation_gives_the_same_bits_on_any_number_of_ranks() {
    let workspace = trained();
    // Batches of 16, so that every rank has batches of every part.
    let evaluate = |n: usize| {
        let run = format!("evaluate --checkpoint {BASE} {SETUP} data.eval_batch_size=16 hydra.run.dir=on_{n}");
        regun_on(n, &workspace, &run);
        std::fs::read_to_string(workspace.path(&format!("on_{n}/results.json"))).unwrap()
    };
    let alone = evaluate(1);
    assert!(alone.contains("rmia_auc") && alone.contains("divergence_retain"));
    for n in 2..=4 {
        assert_eq!(evaluate(n), alone, "{n} ranks");
    }
}

#[test]
fn the_whole_pipeline_runs_on_two_ranks_and_shares_the_work() {
    let workspace = Workspace::new();
    let setup = format!("{SETUP} trainer.precision=64 data.eval_batch_size=16");
    for n in [1, 2] {
        let run = format!("pipeline --methods regun,finetune {setup} hydra.run.dir=on_{n} paths.cache_dir=cache_{n}");
        let output = regun_on(n, &workspace, &run);
        assert!(String::from_utf8_lossy(&output.stdout).contains("ReGUn"), "{}", said(&output));
    }
    let [alone, shared] = [1, 2].map(|n| read_json(&workspace.path(&format!("on_{n}/results.json"))));
    let mut compared = 0;
    for (model, metrics) in alone.as_object().unwrap().iter().filter(|(model, _)| *model != "flags") {
        for (name, wanted) in metrics.as_object().unwrap() {
            let costs = ["seconds", "images_per_second", "peak_memory_bytes", "peak_gpu_memory_bytes"]
                .iter()
                .any(|cost| name.starts_with(cost));
            if let (Some(wanted), false) = (wanted.as_f64(), costs) {
                let found = shared[model][name].as_f64().unwrap();
                assert!((found - wanted).abs() <= 1e-5, "{model} {name}: {found} on two ranks, {wanted} on one");
                compared += 1;
            }
        }
    }
    assert!(compared >= 4 * 52, "{compared} metrics: base, retrained and two methods have 52 at least");
    let run = read_json(&workspace.path("on_2/regun/run.json"));
    assert_eq!((run["ranks"].as_u64(), run["backend"].as_str()), (Some(2), Some("mpi")));
    let alone = read_json(&workspace.path("on_1/regun/run.json"));
    let work = |run: &Value, rank: usize, what: &str| run["work"][rank]["images"][what].as_u64().unwrap_or(0);
    let images = alone["work"][0]["images"].as_object().unwrap();
    assert!(images.contains_key("unlearn/regun/forget"), "{images:?}");
    for what in images.keys() {
        let (first, second) = (work(&run, 0, what), work(&run, 1, what));
        assert_eq!(first + second, work(&alone, 0, what), "{what}");
        assert!(second > 0, "rank 1 has no images of {what}");
    }
    assert!(run["work"][1]["traffic"]["bytes_reduced"].as_u64().unwrap() > 0);
}

/// The jobs of a pipeline share the data. The log has one whole table, and one line for each later training.
#[test]
fn a_pipeline_reads_hashes_and_uploads_its_data_once() {
    let workspace = Workspace::new();
    let small =
        "data.debug_subset_size=300 trainer.max_epochs=1 mul_eval.mia_num_models=1 unlearn.trainer.max_epochs=1";
    let run = format!("-v pipeline experiment=demo --methods regun,finetune {small} hydra.run.dir=run");
    let finished = workspace.regun(&run).succeeds();
    for work in ["data read", "data hashed", "data uploaded"] {
        let lines = finished.stderr.lines().filter(|line| line.contains(work)).count();
        assert_eq!(lines, 1, "lines with {work:?}\n{finished}");
    }
    let tables = finished.stderr.lines().filter(|line| line.starts_with("model ")).count();
    assert_eq!(tables, 1, "tables at the start of a run\n{finished}");
    for role in ["base", "retrained", "unlearn/regun", "unlearn/finetune"] {
        let is_line =
            |line: &&str| line.starts_with(&format!("{role}: 1 epoch(s) x ")) && line.contains("outputs in run/");
        assert_eq!(finished.stderr.lines().filter(is_line).count(), 1, "lines of {role}\n{finished}");
    }
}

/// Results of `make demo` with its fixed seed: the attack succeeds on the base model and not on the retrained one, and
/// ReGUn brings the base model close to the retrained one.
#[test]
fn unlearning_brings_the_base_model_close_to_the_retrained_one() {
    let workspace = Workspace::new();
    let finished = workspace.regun("pipeline experiment=demo hydra.run.dir=run").succeeds();
    for told in
        ["base", "retrained", "ReGUn", "RMIA AUC", "average gap", "results and logs: run", "cache/models", "next:"]
    {
        assert!(finished.stdout.contains(told), "the table does not contain {told}\n{finished}");
    }
    let results = read_json(&workspace.path("run/results.json"));
    let metric = |model: &str, name: &str| results[model][name].as_f64().unwrap();
    let [base, retrained, regun] = ["base", "retrained", "regun"].map(|model| metric(model, "rmia_auc"));
    assert!(metric("base", "acc_test") > 0.95, "{finished}");
    assert!(base >= retrained + 0.1, "{finished}");
    assert!((regun - retrained).abs() <= (base - retrained) / 2.0, "{finished}");
}
