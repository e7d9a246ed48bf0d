//! Mistakes of a user. The message names the mistake, its place and the wanted value. The exit code fits the mistake.
//! Existing files stay unchanged.

mod common;
#[path = "common/trained.rs"]
mod trained;

use std::fs::{self, File};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use common::Workspace;
use trained::{BASE, REFERENCE_1, RETRAINED, SETUP, files_in, trained};

/// Exit codes, as the documentation of the commands lists them.
const USAGE: i32 = 2;
const MISSING: i32 = 3;
const STORAGE: i32 = 72;
const NOT_FINITE: i32 = 73;

// ---------------------------------------------------------------------------------------------------------------------
// Configuration

#[test]
fn a_wrong_setting_is_named_with_the_wanted_value() {
    let workspace = Workspace::new();
    for (overrides, parts) in [
        ("trainer.max_epoch=3", &["trainer.max_epoch", "hint: ", "max_epochs"][..]),
        ("learning_rate=3", &["learning_rate", "hint: "]),
        ("unlearns=regun", &["unlearns", "hint: "]),
        ("data=digit", &["`digit`", "digits"]),
        ("model=resnet19", &["`resnet19`", "resnet20"]),
        ("unlearn=regum", &["`regum`", "regun"]),
        ("model.optim.name=adam", &["model.optim.name", "adam", "sgd, adamw"]),
        ("model.scheduler.name=cos", &["model.scheduler.name", "cos", "cosine"]),
        ("split.scheme=half", &["split.scheme", "half", "random, stratified, class"]),
        ("seed=many", &["seed", "many", "an integer"]),
        ("seed=-1", &["seed", "-1", "an integer"]),
        ("data.batch_size=0", &["data.batch_size", "0", "at least 1"]),
        ("data.batch_size=[1]", &["data.batch_size", "[1]", "an integer"]),
        ("data.num_classes=9", &["data.num_classes", "9", "at least 10"]),
        // An old file with a number of classes of its own: one hint, whose settings are right together.
        ("model.model.num_classes=5", &["has 10 classes", "hint: set model.model.num_classes=10"]),
        ("model.model.num_classes=5 data.num_classes=5", &["hint: set data.num_classes=10 model.model.num_classes=10"]),
        ("model.optim.lr=fast", &["model.optim.lr", "fast", "a number"]),
        ("trainer.precision=8", &["trainer.precision", "8", "bf16-mixed"]),
        ("trainer.cuda_graph=maybe", &["trainer.cuda_graph", "maybe", "auto, true, false"]),
        ("trainer.cuda_graph=true trainer.accelerator=cpu", &["trainer.cuda_graph=true", "CPU", "hint: "]),
        ("trainer.threads=100000", &["trainer.threads", "100000", "at most"]),
        ("split.forget_frac=1.5", &["split.forget_frac", "1.5", "from 0 to 1"]),
        ("split.heldout_frac=-0.1", &["split.heldout_frac", "-0.1", "from 0 to 1"]),
        ("split.forget_frac=0", &["the forget set is empty", "hint: "]),
        ("split.validation_frac=0.9", &["the retain set is empty", "hint: "]),
        ("split.scheme=class split.forget_classes=[10]", &["split.forget_classes", "10", "from 0 to 9"]),
        ("split.scheme=class split.forget_classes=[-1]", &["split.forget_classes", "-1", "from 0 to 9"]),
        ("model.optim.lr", &["model.optim.lr", "hint: "]),
        ("seed=${nowhere}", &["nowhere"]),
        ("seed=${seed}", &["seed", "cycle"]),
    ] {
        workspace.regun(&format!("base {SETUP} {overrides}")).fails(USAGE, parts);
    }
    assert!(files_in(&workspace.path("")).is_empty(), "a refused run leaves nothing behind");
}

#[test]
fn a_wrong_setting_of_a_method_is_named_by_config_and_by_unlearn() {
    let workspace = Workspace::new();
    let sequential = "unlearn=neggradp unlearn.sequential=true unlearn.";
    for (overrides, parts) in [
        ("unlearn=regun unlearn.regun.temperature=0", &["unlearn.regun.temperature", "0", "above 0"][..]),
        ("unlearn=finetune unlearn.optim.name=none", &["unlearn.optim.name", "none", "sgd or adamw"]),
        (&format!("{sequential}neggrad.optim.name=none"), &["unlearn.neggrad.optim.name", "none", "sgd or adamw"]),
        (&format!("{sequential}neggrad.optim.momentum=2"), &["unlearn.neggrad.optim.momentum", "2", "below 1"]),
        (&format!("{sequential}finetune.optim.lr=-1"), &["unlearn.finetune.optim.lr", "-1", "above 0"]),
        (
            &format!("{sequential}finetune.scheduler.name=step ++unlearn.finetune.scheduler.step_size=0"),
            &["unlearn.finetune.scheduler.step_size", "0", "at least 1"],
        ),
    ] {
        for command in ["config --resolve", "unlearn"] {
            workspace.regun(&format!("{command} {SETUP} {overrides}")).fails(USAGE, parts);
        }
    }
    assert!(files_in(&workspace.path("")).is_empty());
}

#[test]
fn a_wrong_setting_in_a_file_is_named_with_file_and_line() {
    let workspace = Workspace::new();
    fs::create_dir_all(workspace.path("mine/model")).unwrap();
    fs::write(workspace.path("mine/model/slow.yaml"), "defaults:\n  - resnet20\noptim:\n  lr: slow\n").unwrap();
    let run = format!("base {SETUP} -cd mine model=slow");
    workspace.regun(&run).fails(USAGE, &["mine/model/slow.yaml:4", "model.optim.lr", "slow", "a number"]);
    fs::write(workspace.path("mine/model/slow.yaml"), "defaults:\n  - resnet20\noptim: [\n").unwrap();
    workspace.regun(&run).fails(USAGE, &["mine/model/slow.yaml"]);
    workspace.regun(&format!("base {SETUP} -cd elsewhere")).fails(USAGE, &["elsewhere"]);
    workspace.regun(&format!("base {SETUP} --config-name other")).fails(USAGE, &["other"]);
}

#[test]
fn a_missing_method_is_refused_before_anything_is_read() {
    let workspace = Workspace::new();
    workspace.regun(&format!("unlearn {SETUP}")).fails(USAGE, &["no unlearning method is chosen", "hint: ", "regun"]);
    workspace.regun(&format!("pipeline {SETUP}")).fails(USAGE, &["no unlearning method is chosen", "--methods"]);
    assert!(files_in(&workspace.path("")).is_empty());
}

#[test]
fn configured_features_that_this_version_lacks_are_refused_with_alternatives() {
    let workspace = Workspace::new();
    for method in regun::unlearn::REGISTRY.iter().map(|method| method.name) {
        let run = workspace.regun(&format!("unlearn {SETUP} unlearn={method}"));
        if !run.stderr.contains("not built") {
            run.fails(MISSING, &["the base model is missing"]);
            continue;
        }
        let refusal = [method, "not built", "hint: ", "regun, finetune"];
        run.fails(USAGE, &refusal);
        workspace.regun(&format!("pipeline {SETUP} --methods regun,{method}")).fails(USAGE, &refusal);
    }
    for data in ["cifar100", "tiny_imagenet", "image_folder data.num_classes=3"] {
        let run = workspace.regun(&format!("base {SETUP} data={data} data.data_dir=nowhere data.download=false"));
        run.fails(MISSING, &["nowhere", "hint: "]);
    }
    assert!(!workspace.path("cache").exists());
}

#[test]
fn a_reference_index_outside_of_1_to_the_configured_number_is_refused() {
    let workspace = Workspace::new();
    for index in ["0", "5"] {
        let run = format!("reference --run-idx {index} {SETUP} mul_eval.mia_num_models=4");
        workspace.regun(&run).fails(USAGE, &[index, "1 to 4", "mul_eval.mia_num_models"]);
    }
}

// ---------------------------------------------------------------------------------------------------------------------
// Data files

const CIFAR: &str = "splits data=cifar10 data.data_dir=data";
/// Size in bytes of a CIFAR-10 batch file: 10,000 images, each one label byte and 32x32x3 pixels.
const CIFAR_FILE: u64 = 10_000 * 3_073;

/// Makes a file of `size` zeros that takes no room on the disk. As a CIFAR batch it holds black images of class 0.
fn zeros(path: &Path, size: u64) -> File {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    let file = File::create(path).unwrap();
    file.set_len(size).unwrap();
    file
}

#[test]
fn absent_data_is_named_with_a_hint_to_get_it() {
    let workspace = Workspace::new();
    let run = workspace.regun(&format!("{CIFAR} data.download=false"));
    run.fails(MISSING, &["CIFAR-10", "data", "cifar-10-batches-bin", "hint: ", "data.data_dir"]);
    fs::create_dir_all(workspace.path("data")).unwrap();
    fs::write(workspace.path("data/cifar-10-binary.tar.gz"), "").unwrap();
    let run = workspace.regun(&format!("{CIFAR} data.download=false"));
    run.fails(MISSING, &["hint: ", "tar -xzf data/cifar-10-binary.tar.gz -C data"]);
    let mut run = workspace.prepare("splits data=cifar10 data.download=false");
    run.command.arg("data.data_dir='my data'");
    run.run().fails(MISSING, &["hint: ", "tar -xzf cifar-10-binary.tar.gz -C 'my data'"]);
    workspace
        .regun(CIFAR)
        .fails(MISSING, &["data/cifar-10-binary.tar.gz is not the published file", "hint: remove it"]);
}

#[test]
fn a_data_file_that_is_missing_cut_or_wrong_is_named() {
    let workspace = Workspace::new();
    let file = |name: &str| workspace.path(&format!("data/cifar-10-batches-bin/{name}"));
    zeros(&file("data_batch_1.bin"), CIFAR_FILE);
    workspace.regun(CIFAR).fails(MISSING, &["data_batch_2.bin", "wanted 30730000 bytes", "hint: "]);
    for size in [0, CIFAR_FILE - 1, CIFAR_FILE + 3_073] {
        zeros(&file("data_batch_2.bin"), size);
        let got = format!("got {size} bytes");
        workspace.regun(CIFAR).fails(MISSING, &["data_batch_2.bin", &got, "wanted 30730000", "hint: "]);
    }
    fs::write(file("data_batch_1.bin"), [10]).unwrap();
    zeros_after(&file("data_batch_1.bin"), CIFAR_FILE);
    workspace.regun(CIFAR).fails(MISSING, &["data_batch_1.bin", "image 0 has label 10", "wanted 0 to 9", "hint: "]);
}

/// Lengthens a file to `size` bytes with zeros.
fn zeros_after(path: &Path, size: u64) {
    File::options().write(true).open(path).unwrap().set_len(size).unwrap();
}

#[test]
fn a_file_that_is_no_python_batch_is_named() {
    let workspace = Workspace::new();
    let path = workspace.path("data/cifar-10-batches-py/data_batch_1");
    for size in [0, 100, CIFAR_FILE + 1_000] {
        zeros(&path, size);
        workspace.regun(CIFAR).fails(MISSING, &["cifar-10-batches-py/data_batch_1"]);
    }
}

// ---------------------------------------------------------------------------------------------------------------------
// Checkpoints

/// Damaged versions of the checkpoint `good`, each with a description of the damage.
fn damages(good: &[u8]) -> Vec<(&'static str, Vec<u8>)> {
    let flipped = |at: usize| {
        let mut bytes = good.to_vec();
        bytes[at] ^= 0x10;
        bytes
    };
    vec![
        ("empty", Vec::new()),
        ("cut in its length", good[..5].to_vec()),
        ("cut in its header", good[..100].to_vec()),
        ("cut in its tensors", good[..good.len() / 2].to_vec()),
        ("cut by a byte", good[..good.len() - 1].to_vec()),
        ("longer by a byte", [good, b"x"].concat()),
        ("a bit of its length flipped", flipped(6)),
        ("a bit of its header flipped", flipped(30)),
        ("a bit of a tensor flipped", flipped(good.len() - 4_001)),
        ("text", b"this is not the checkpoint that you are looking for\n".repeat(100)),
    ]
}

#[test]
fn a_damaged_checkpoint_is_named_with_the_command_that_makes_it_and_stays_unchanged() {
    let workspace = trained();
    for (path, command) in
        [(BASE, "regun base"), (RETRAINED, "regun base"), (REFERENCE_1, "regun reference --run-idx 1")]
    {
        let good = fs::read(workspace.path(path)).unwrap();
        for (how, bad) in damages(&good) {
            fs::write(workspace.path(path), bad).unwrap();
            let before = files_in(&workspace.path("cache"));
            let run = workspace.regun(&format!("unlearn unlearn=finetune {SETUP} hydra.run.dir=run"));
            let run = run.fails(MISSING, &[path, "damaged", "hint: ", command]);
            assert_eq!(files_in(&workspace.path("cache")), before, "{how}: the cache has changed\n{run}");
        }
        // `evaluate` reports the same damage.
        let run = workspace.regun(&format!("evaluate --checkpoint {path} {SETUP} hydra.run.dir=run"));
        run.fails(MISSING, &[path, "damaged", "hint: "]);
        fs::write(workspace.path(path), good).unwrap();
    }
    workspace.regun(&format!("unlearn unlearn=finetune {SETUP} unlearn.trainer.max_epochs=1")).succeeds();
}

#[test]
fn a_checkpoint_of_another_setup_is_refused_with_the_difference() {
    let workspace = trained();
    let before = files_in(&workspace.path("cache/models"));
    let refused = |overrides: &str, path: &str, difference: &str| {
        let run = format!("unlearn unlearn=finetune {SETUP} {overrides} hydra.run.dir=run");
        workspace.regun(&run).fails(MISSING, &[path, "does not fit", difference, "hint: "]);
        let run = format!("evaluate --checkpoint {path} {SETUP} {overrides} hydra.run.dir=run");
        // Models of one setup differ in seed and role. `evaluate` accepts all of them.
        if !difference.contains("seed: found 42, wanted 43") && !difference.starts_with("role") {
            workspace.regun(&run).fails(MISSING, &[path, "does not fit", difference, "hint: "]);
        }
    };
    refused("data.num_classes=11", BASE, "classes: found 10, wanted 11");
    refused("data.debug_subset_size=299", BASE, "data subset: found first 300, wanted first 299");
    refused("split.seed=1", BASE, "split seed: found 42, wanted 1");
    refused("split.heldout_frac=0.2", BASE, "split indices");

    // The program checks the identity inside a file, not the file name.
    let copied = |from: &str, to: &str| {
        fs::copy(workspace.path(from), workspace.path(to)).unwrap();
        to.to_owned()
    };
    let other = copied(BASE, "cache/models/resnet18_digits_random_forget0.2_42.safetensors");
    refused("model=resnet", &other, "model: found resnet20, wanted resnet18");
    let other = copied(BASE, "cache/models/resnet20_digits_stratified_forget0.2_42.safetensors");
    refused("split.scheme=stratified", &other, "split scheme: found random, wanted stratified");
    let other = copied(BASE, "cache/models/resnet20_digits_random_forget0.2_43.safetensors");
    refused("seed=43 split.seed=42", &other, "seed: found 42, wanted 43");
    let other = copied(RETRAINED, "other.safetensors");
    refused("run.base_weights=other.safetensors", &other, "role: found retrained, wanted base");

    for (path, contents) in before {
        let now = fs::read(workspace.path("cache/models").join(&path)).unwrap();
        assert!(now == contents, "{} has changed", path.display());
    }
}

#[test]
fn a_checkpoint_with_other_tensors_than_the_architecture_is_refused() {
    let workspace = trained();
    // The evaluation cache has the right identity, but it holds no model.
    let cache = "cache/eval/resnet20_digits_random_forget0.2_42_cached_references.safetensors";
    let run = workspace.regun(&format!("evaluate --checkpoint {cache} {SETUP} hydra.run.dir=run"));
    run.fails(MISSING, &[cache]);
}

#[test]
fn missing_models_are_named_with_the_commands_that_make_them() {
    let workspace = trained();
    let unlearn = format!("unlearn unlearn=finetune {SETUP} unlearn.trainer.max_epochs=1 hydra.run.dir=run");
    let evaluate = format!("evaluate --checkpoint {BASE} {SETUP} hydra.run.dir=run");
    let good = fs::read(workspace.path(BASE)).unwrap();
    fs::remove_file(workspace.path(REFERENCE_1)).unwrap();
    for run in [&unlearn, &evaluate] {
        let parts = ["1 of 2 reference models", REFERENCE_1, "--references", "regun reference --run-idx 1"];
        workspace.regun(run).fails(MISSING, &parts);
    }
    fs::remove_file(workspace.path(RETRAINED)).unwrap();
    for run in [&unlearn, &evaluate] {
        workspace.regun(run).fails(MISSING, &["missing"]);
        workspace.regun(&format!("{run} --references")).fails(MISSING, &["the retrained model is missing", RETRAINED]);
    }
    fs::remove_file(workspace.path(BASE)).unwrap();
    workspace.regun(&unlearn).fails(MISSING, &["the base model is missing", BASE, "regun base"]);
    workspace.regun(&evaluate).fails(MISSING, &[BASE, "does not exist"]);
    workspace.regun(&format!("{unlearn} --references")).fails(MISSING, &["the base model is missing"]);
    let without_data = format!("{unlearn} data=cifar10 data.data_dir=nowhere data.download=false");
    workspace.regun(&without_data).fails(MISSING, &["the base model is missing"]);

    // Other reasons that are known before the work begins.
    fs::write(workspace.path(BASE), &good[..good.len() / 2]).unwrap();
    workspace.regun(&unlearn).fails(MISSING, &[BASE, "damaged"]);
    workspace.regun(&format!("pipeline {SETUP} unlearn=finetune hydra.run.dir=run")).fails(MISSING, &[BASE, "damaged"]);
    fs::write(workspace.path(BASE), &good).unwrap();
    workspace.regun(&format!("{unlearn} split.seed=1")).fails(MISSING, &[BASE, "does not fit"]);
    workspace.regun(&format!("{evaluate} split.seed=1")).fails(MISSING, &[BASE, "does not fit"]);
    workspace
        .regun(&format!("{evaluate} data=cifar10 data.data_dir=nowhere data.download=false"))
        .fails(MISSING, &["nowhere"]);
    assert!(!workspace.path("run").exists(), "a refused run leaves no folder");
    assert!(!workspace.path(REFERENCE_1).exists(), "a refused run trains nothing");
}

#[test]
fn base_without_references_says_so_first_and_gives_all_metrics_but_those_that_need_them() {
    let workspace = Workspace::new();
    let run = workspace.regun(&format!("base {SETUP} hydra.run.dir=run")).succeeds();
    let commands = "regun reference --run-idx 1 && regun reference --run-idx 2";
    let said: Vec<&str> = run.stderr.lines().filter(|line| line.contains("reference")).collect();
    let flag = "2 of 2 reference models are missing: no rmia_*, average_gap*";
    assert!(said.len() == 1 && said[0].starts_with(flag) && said[0].contains(commands), "{run}");
    assert!(run.stderr.find(flag) < run.stderr.find("base epoch 1/1"), "{run}");
    assert!(workspace.path(BASE).exists() && workspace.path(RETRAINED).exists());
    let json = |name: &str| -> serde_json::Value {
        serde_json::from_slice(&fs::read(workspace.path("run").join(name)).unwrap()).unwrap()
    };
    let results = json("results.json");
    assert_eq!(results["flags"], serde_json::json!([flag]));
    for model in ["base", "retrained"] {
        for key in ["acc_test", "smia_loss_auc", "divergence_test"] {
            assert!(results[model][key].is_f64(), "{key} of {model}: {results}");
        }
        let needs_references = |key: &String| key.contains("rmia") || key.starts_with("average_gap");
        assert!(!results[model].as_object().unwrap().keys().any(needs_references), "{results}");
    }
    let state = json("run.json");
    assert_eq!((&state["state"], &state["exit_code"]), (&"done".into(), &0.into()));
    assert!(!workspace.path("cache/eval").exists(), "a cache without references would be used later");

    // With the references the metrics come, from models that are already there.
    let evaluate = format!("--json evaluate --checkpoint {BASE} --references {SETUP} hydra.run.dir=evaluated");
    let run = workspace.regun(&evaluate).succeeds();
    let printed: serde_json::Value = serde_json::from_str(&run.stdout).unwrap_or_else(|error| panic!("{error}\n{run}"));
    assert!(printed["base"]["rmia_auc"].is_f64() && printed["flags"] == serde_json::json!([]), "{run}");
    for folder in ["evaluated/reference_1", "evaluated/reference_2"] {
        assert!(workspace.path(folder).join("results.json").exists(), "{folder}\n{run}");
    }
    let log = fs::read_to_string(workspace.path("evaluated/train.log")).unwrap();
    assert!(log.contains("reference 2 epoch 1/1") && log.contains("evaluate cache"), "{log}");
}

#[test]
fn with_references_base_and_unlearn_train_the_missing_ones_first() {
    let workspace = Workspace::new();
    let small = "data=digits model=resnet20 data.debug_subset_size=100 split.forget_frac=0.2 mul_eval.mia_num_models=1 \
        trainer.max_epochs=1 trainer.threads=1";
    let run = workspace.regun(&format!("--json base --references {small} hydra.run.dir=run")).succeeds();
    assert!(run.stderr.find("reference 1 epoch 1/1") < run.stderr.find("base epoch 1/1"), "{run}");
    let printed: serde_json::Value = serde_json::from_str(&run.stdout).unwrap_or_else(|error| panic!("{error}\n{run}"));
    assert!(printed["base"]["rmia_auc"].is_f64() && printed["retrained"]["average_gap"] == 0.0, "{run}");

    let reference = "cache/models/resnet20_digits_random_forget0.2_retrained_42-001.safetensors";
    let weights = || regun::checkpoint::load(&workspace.path(reference)).unwrap().checksum;
    let made = weights();
    fs::remove_file(workspace.path(reference)).unwrap();
    let unlearn = format!("unlearn --references unlearn=finetune unlearn.trainer.max_epochs=1 {small}");
    let run = workspace.regun(&unlearn).succeeds();
    assert!(run.stderr.find("reference 1 epoch 1/1") < run.stderr.find("unlearn/finetune epoch 1/1"), "{run}");
    assert_eq!(weights(), made, "the reference model of --references is another one");
    let again = workspace.regun(&unlearn).succeeds();
    assert!(!again.stderr.contains("reference 1 epoch"), "a model that is there is not trained again\n{again}");
}

#[test]
fn a_path_that_is_not_utf_8_is_refused_before_anything_is_made() {
    let workspace = Workspace::new();
    let latin1 = |text: &[u8]| std::ffi::OsStr::from_bytes(text).to_owned();
    fs::create_dir(workspace.path("").join(latin1(b"K\xf6ln"))).unwrap();
    let before = files_in(&workspace.path(""));
    for variable in ["CACHE_DIR", "OUTPUTS_DIR", "DATA_DIR"] {
        let mut run = workspace.prepare(&format!("reference --run-idx 1 {SETUP}"));
        run.command.env(variable, latin1(b"K\xf6ln"));
        run.run().fails(USAGE, &[variable, "not UTF-8", "K\\xF6ln", "hint: "]);
    }
    for words in [&[b"--config-dir".as_slice(), b"K\xf6ln"][..], &[b"paths.cache_dir=K\xf6ln"], &[b"--run-idx=\xf6"]] {
        let mut run = workspace.prepare(&format!("reference --run-idx 1 {SETUP}"));
        run.command.args(words.iter().map(|word| latin1(word)));
        run.run().fails(USAGE, &["the argument", "not UTF-8", "hint: "]);
    }
    for words in [&[b"evaluate".as_slice(), b"--checkpoint", b"\xf6.pt"][..], &[b"convert", b"\xf6.pt", b"o.pt"]] {
        let mut run = workspace.prepare("");
        run.command.args(words.iter().map(|word| latin1(word)));
        run.run().fails(USAGE, &["the argument", "not UTF-8", "hint: "]);
    }
    assert!(files_in(&workspace.path("")) == before);
    assert_eq!(fs::read_dir(workspace.path("")).unwrap().count(), 1);

    // Inside such a folder relative paths work.
    let mut run = workspace.prepare(&format!("reference --run-idx 1 {SETUP} hydra.run.dir=run"));
    run.command.current_dir(workspace.path("").join(latin1(b"K\xf6ln")));
    run.run().succeeds();
    assert!(workspace.path("").join(latin1(b"K\xf6ln/run/results.json")).exists());
}

// ---------------------------------------------------------------------------------------------------------------------
// Storage

#[test]
fn a_folder_that_cannot_be_made_is_refused_before_training() {
    let workspace = Workspace::new();
    fs::write(workspace.path("file"), "in the way").unwrap();
    for (overrides, place) in [
        ("hydra.run.dir=file/run", "file"),
        ("hydra.run.dir=/proc/nowhere/run", "/proc/nowhere"),
        ("paths.cache_dir=file/cache hydra.run.dir=run", "file/cache"),
        ("paths.cache_dir=/proc/nowhere hydra.run.dir=run", "/proc/nowhere"),
    ] {
        let run = workspace.regun(&format!("base {SETUP} {overrides}")).fails(STORAGE, &[place, "hint: "]);
        assert!(!run.stderr.contains("epoch 1"), "an epoch was trained before the refusal\n{run}");
    }
    assert_eq!(fs::read_to_string(workspace.path("file")).unwrap(), "in the way");
}

/// A small tmpfs, unmounted when dropped.
struct SmallDisk(PathBuf);

impl SmallDisk {
    /// Mounts a tmpfs on `folder`; `None` if this machine does not allow it.
    fn mount(folder: PathBuf, size: &str) -> Option<Self> {
        fs::create_dir_all(&folder).unwrap();
        let mut mount = std::process::Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &format!("size={size}"), "tmpfs"]).arg(&folder);
        match mount.stderr(Stdio::null()).status() {
            Ok(status) if status.success() => Some(SmallDisk(folder)),
            _ => {
                eprintln!("skipped: mounting a tmpfs is not allowed here");
                None
            }
        }
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = std::process::Command::new("umount").arg(&self.0).status();
    }
}

#[test]
fn a_full_disk_leaves_the_old_checkpoint_unchanged() {
    let workspace = trained();
    let good = fs::read(workspace.path(BASE)).unwrap();
    // The disk has room for one model but not for two.
    let Some(disk) = SmallDisk::mount(workspace.path("disk"), &format!("{}", good.len() * 3 / 2)) else { return };
    let name = Path::new(BASE).file_name().unwrap();
    fs::create_dir(disk.0.join("models")).unwrap();
    fs::write(disk.0.join("models").join(name), &good).unwrap();
    let before = files_in(&disk.0);
    let run = workspace.regun(&format!("base {SETUP} paths.cache_dir=disk hydra.run.dir=run trainer.max_epochs=2"));
    run.fails(STORAGE, &["cannot write", &name.to_string_lossy(), "hint: ", "space"]);
    assert!(files_in(&disk.0) == before, "the folder must hold the unchanged old file and no other");
}

#[test]
fn a_full_output_folder_is_a_storage_error() {
    let workspace = trained();
    let Some(disk) = SmallDisk::mount(workspace.path("disk"), "64k") else { return };
    let run = workspace.regun(&format!("unlearn unlearn=finetune {SETUP} hydra.run.dir=disk/run"));
    run.fails(STORAGE, &["cannot write", "unlearned.safetensors", "hint: "]);
    assert!(!disk.0.join("run/results.json").exists());
    drop(disk);
}

#[test]
fn a_full_or_closed_standard_output_is_an_error_after_the_results_are_saved() {
    let workspace = trained();
    let run = format!("unlearn unlearn=finetune {SETUP} unlearn.trainer.max_epochs=1 hydra.run.dir=");
    let mut full = workspace.prepare(&format!("{run}run_full"));
    full.command.stdout(File::options().write(true).open("/dev/full").unwrap());
    full.run().fails(STORAGE, &["standard output", "hint: "]);
    let mut closed = workspace.prepare(&format!("{run}run_closed"));
    closed.command.stdout(Stdio::piped());
    closed.run().fails(STORAGE, &["standard output", "hint: "]);
    for folder in ["run_full", "run_closed"] {
        assert!(workspace.path(folder).join("results.json").exists(), "{folder}");
        assert!(workspace.path(folder).join("unlearned.safetensors").exists(), "{folder}");
    }
}

#[test]
fn a_full_standard_error_does_not_stop_a_run() {
    let workspace = trained();
    let mut run = workspace.prepare(&format!("unlearn unlearn=finetune {SETUP} unlearn.trainer.max_epochs=1"));
    run.command.stderr(File::options().write(true).open("/dev/full").unwrap());
    let run = run.run().succeeds();
    assert!(run.stdout.contains("Finetune"), "{run}");
}

// ---------------------------------------------------------------------------------------------------------------------
// Numbers

#[test]
fn a_diverging_training_names_the_step_and_keeps_the_old_model() {
    let workspace = trained();
    let before = files_in(&workspace.path("cache"));
    let run = workspace.regun(&format!("base {SETUP} model.optim.lr=1e30 hydra.run.dir=run"));
    run.fails(NOT_FINITE, &["base", "not finite", "epoch 1, pass train, step 2", "hint: ", "learning rate"]);
    // With a single step no later gradient shows the divergence. The validation loss shows it.
    let run = workspace.regun(&format!("base {SETUP} model.optim.lr=1e30 data.batch_size=1000 hydra.run.dir=run"));
    run.fails(NOT_FINITE, &["base", "validation loss", "epoch 1", "hint: ", "learning rate"]);
    let run = "unlearn unlearn=neggrad unlearn.optim.lr=1e30 hydra.run.dir=run";
    workspace.regun(&format!("{run} {SETUP}")).fails(NOT_FINITE, &["unlearn/neggrad", "epoch 1", "hint: "]);
    assert!(files_in(&workspace.path("cache")) == before, "the cache has changed");
    for folder in ["run", "run-1", "run-2"] {
        let state = fs::read_to_string(workspace.path(folder).join("run.json")).unwrap();
        assert!(state.contains("\"exit_code\": 73"), "{state}");
        assert!(!workspace.path(folder).join("unlearned.safetensors").exists());
    }
}
