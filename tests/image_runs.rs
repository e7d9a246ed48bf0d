//! Whole runs on image files: an image folder, and Tiny ImageNet on two ranks if `REGUN_TEST_DATA` has it.

mod common;
mod image_tree;
mod mpirun;

use std::fs;
use std::path::PathBuf;

use common::Workspace;
use mpirun::{finish, mpirun, said};
use regun::checkpoint;
use serde_json::{Map, Value};

const USAGE: i32 = 2;
const MISSING: i32 = 3;

/// Makes an image folder of three classes, each with ten training images and two test images.
fn folder(workspace: &Workspace) {
    for part in ["train", "test"] {
        for (class, files) in ["ant", "bee", "cat"].iter().zip(image_tree::FILES.chunks(2)) {
            for i in 0..if part == "train" { 10 } else { 2 } {
                image_tree::put(files[i % 2], &workspace.path(&format!("mine/{part}/{class}/{i}.jpg")));
            }
        }
    }
}

const MINE: &str = "data=image_folder data.data_dir=mine data.image_size=16 model=resnet20 trainer.max_epochs=1 \
    split.forget_frac=0.2 split.retain_frac=0.7 mul_eval.mia_num_models=1 \
    trainer.threads=1 trainer.precision=32";

#[test]
fn an_image_folder_goes_through_the_whole_pipeline() {
    let workspace = Workspace::new();
    folder(&workspace);
    workspace
        .regun(&format!("splits {MINE} data.num_classes=4"))
        .fails(USAGE, &["data.num_classes is 4", "3 class folders", "set data.num_classes=3"]);
    let resolved = workspace.regun(&format!("config --resolve {MINE}")).succeeds().stdout;
    assert_eq!(resolved.matches("num_classes: 3").count(), 2, "of data and model, counted\n{resolved}");
    assert!(resolved.contains("size: 16\n      padding"), "the crop is as large as the images\n{resolved}");
    let finished = workspace.regun(&format!("--json pipeline --methods regun {MINE}")).succeeds();
    assert!(finished.stderr.contains("packing image_folder (36 images"), "{finished}");
    assert_eq!(finished.stderr.matches("packing").count(), 1, "all steps must use one pack\n{finished}");

    let base = checkpoint::load(&workspace.path("cache/models/resnet20_image_folder_random_forget0.2_42.safetensors"));
    let base = base.unwrap().manifest.identity;
    assert!(base.get("data content (sha256)").is_some_and(|digest| digest.len() == 64));
    assert_eq!(base.get("classes"), Some("3"));
}

/// The commands of a section of the README: its indented lines from the one that begins with `first` on.
fn readme_commands(section: &str, first: &str) -> Vec<String> {
    let readme = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/README.md")).unwrap();
    let (_, text) = readme.split_once(&format!("\n{section}\n")).unwrap_or_else(|| panic!("no section {section}"));
    let lines = text.lines().skip_while(|line| !line.trim().starts_with(first));
    let lines = lines.take_while(|line| line.starts_with("    ")).map(|line| line.trim().to_owned());
    let commands: Vec<String> = lines.collect();
    assert!(!commands.is_empty(), "{section} of the README has no command {first}");
    commands
}

/// Runs a script in a workspace as a reader of the README would, with the program at `target/release/regun`.
fn as_typed(workspace: &Workspace, script: &str) -> std::process::Output {
    fs::create_dir_all(workspace.path("target/release")).unwrap();
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_regun"), workspace.path("target/release/regun")).unwrap();
    let mut bash = std::process::Command::new("bash");
    bash.args(["-e", "-c", script]).current_dir(workspace.path(""));
    for variable in ["CACHE_DIR", "DATA_DIR", "OUTPUTS_DIR"] {
        bash.env_remove(variable);
    }
    bash.env("OMP_WAIT_POLICY", "passive").env("OMPI_MCA_rmaps_base_oversubscribe", "1");
    bash.env("OMPI_ALLOW_RUN_AS_ROOT", "1").env("OMPI_ALLOW_RUN_AS_ROOT_CONFIRM", "1");
    let output = finish(bash);
    assert!(output.status.success(), "{script}\n{}", said(&output));
    output
}

#[test]
fn the_commands_for_own_images_in_the_readme_work_on_a_fresh_cache() {
    let workspace = Workspace::new();
    for (class, extension) in [("cat", "jpg"), ("dog", "png")] {
        let files = image_tree::FILES.iter().filter(|file| file.ends_with(extension));
        for (i, file) in files.cycle().take(12).enumerate() {
            let part = if i < 10 { "train" } else { "test" };
            image_tree::put(file, &workspace.path(&format!("photos/{part}/{class}/{i}.{extension}")));
        }
    }
    let commands = readme_commands("### Your own images", "photos=").join("\n");
    assert!(commands.contains("regun splits") && commands.contains("regun base"), "{commands}");
    // The same commands, with less work.
    let small = "regun() { target/release/regun \"$@\" model=resnet20 trainer.max_epochs=1 trainer.threads=1; }";
    let output = as_typed(&workspace, &format!("{small}\n{commands}"));
    assert!(String::from_utf8_lossy(&output.stdout).contains("accuracy test"), "{}", said(&output));
    let models = fs::read_dir(workspace.path("cache/models")).unwrap().count();
    assert!(models >= 2, "base and retrained model are saved: {}", said(&output));
}

#[test]
fn the_command_for_several_ranks_in_the_readme_works_on_a_fresh_cache() {
    let workspace = Workspace::new();
    let command = readme_commands("## Several ranks", "mpirun").remove(0);
    let output = as_typed(&workspace, &format!("{command} data.debug_subset_size=300 trainer.max_epochs=1"));
    assert!(String::from_utf8_lossy(&output.stdout).contains("accuracy test"), "{}", said(&output));
    assert!(String::from_utf8_lossy(&output.stderr).contains("ranks      2 (mpi)"), "{}", said(&output));
}

#[test]
fn files_that_are_no_images_by_name_are_passed_over_and_counted() {
    let workspace = Workspace::new();
    folder(&workspace);
    for name in ["bee/Thumbs.db", "bee/desktop.ini", "ant/list.csv", "notes.txt"] {
        fs::write(workspace.path("mine/train").join(name), "a,b").unwrap();
    }
    let finished = workspace.regun(&format!("splits {MINE}")).succeeds();
    let line = "passed over 4 file(s) in mine that are no images by their names: train/notes.txt, train/ant/list.csv, \
        train/bee/Thumbs.db and 1 more";
    assert_eq!(finished.stderr.matches(line).count(), 1, "{finished}");
    assert!(!finished.stderr.contains("warning: passed over"), "{finished}");
}

#[test]
fn a_file_that_is_no_image_stops_a_run_unless_skip_corrupt_is_set() {
    let workspace = Workspace::new();
    folder(&workspace);
    fs::write(workspace.path("mine/train/bee/list.jpg"), "a,b").unwrap();
    let run = format!("splits {MINE}");
    let named = ["1 of 37 image files", "train/bee/list.jpg", "it is no image", "data.skip_corrupt=true"];
    workspace.regun(&run).fails(MISSING, &named);
    let finished = workspace.regun(&format!("{run} data.skip_corrupt=true")).succeeds();
    assert!(finished.stderr.contains("warning: left out: 1 of 37"), "{finished}");
    workspace.regun(&run).fails(MISSING, &named);
}

#[test]
fn the_folder_val_is_the_test_set_where_there_is_no_folder_test() {
    let workspace = Workspace::new();
    folder(&workspace);
    fs::rename(workspace.path("mine/test"), workspace.path("mine/val")).unwrap();
    let finished = workspace.regun(&format!("splits {MINE}")).succeeds();
    let line = "mine has no folder test: the images in its folder val are the test set";
    assert_eq!(finished.stderr.matches(line).count(), 1, "{finished}");
}

/// A reference model sees no test image. One that was trained while there were none serves a run that has them.
#[test]
fn without_test_images_a_reference_trains_and_an_evaluation_says_what_is_missing() {
    let workspace = Workspace::new();
    folder(&workspace);
    fs::rename(workspace.path("mine/test"), workspace.path("later")).unwrap();
    let run = format!("reference --run-idx 1 {MINE}");
    let finished = workspace.regun(&run).succeeds();
    assert!(finished.stderr.contains("goes on without: mine has no folder test"), "{finished}");
    for command in ["base", "pipeline --methods regun"] {
        let run = workspace.regun(&format!("{command} {MINE} hydra.run.dir=none"));
        run.fails(MISSING, &["no test images", "mine has no folder test", "hint: "]);
        assert!(!workspace.path("none").exists(), "{command} made a run folder");
    }
    fs::rename(workspace.path("later"), workspace.path("mine/test")).unwrap();
    let finished = workspace.regun(&format!("pipeline --methods regun {MINE}")).succeeds();
    assert!(!finished.stderr.contains("forget0.2_retrained_42-001"), "reference 1 is there already\n{finished}");
}

#[test]
fn a_subset_that_leaves_classes_out_is_a_warning() {
    let workspace = Workspace::new();
    folder(&workspace);
    for (size, warning) in [(12, Some("training images, and with them 2 of 3 classes")), (21, None)] {
        let finished = workspace.regun(&format!("splits {MINE} data.debug_subset_size={size}")).succeeds();
        assert_eq!(finished.stderr.contains("warning: data.debug_subset_size"), warning.is_some(), "{finished}");
        assert!(finished.stderr.contains(warning.unwrap_or_default()), "{finished}");
    }
}

#[test]
fn tiny_imagenet_gives_the_same_results_on_two_ranks_as_on_one() {
    let Some(data) = std::env::var_os("REGUN_TEST_DATA").map(PathBuf::from) else {
        eprintln!("skipped: REGUN_TEST_DATA is not set");
        return;
    };
    let workspace = Workspace::new();
    // The program writes the pack beside the data. With links it goes to the workspace, not into the shared data.
    fs::create_dir(workspace.path("data")).unwrap();
    for part in ["train", "val"] {
        let original = data.join("tiny-imagenet-200").join(part);
        std::os::unix::fs::symlink(original, workspace.path("data").join(part)).unwrap();
    }
    // The first 96 images all have the first class, and so have the forgotten ones.
    let setup = "data=tiny_imagenet data.data_dir=data data.debug_subset_size=96 model=resnet20 \
        trainer.max_epochs=1 mul_eval.mia_num_models=1 split.forget_frac=0.2 \
        split.retain_frac=0.7 trainer.precision=64 trainer.threads=1";
    let results = [1, 2].map(|ranks| {
        let run = |arguments: &str| {
            let mut command = mpirun(ranks);
            command.arg(env!("CARGO_BIN_EXE_regun")).args(arguments.split_whitespace());
            command.current_dir(workspace.path("")).env("CACHE_DIR", format!("cache{ranks}"));
            let output = finish(command);
            assert!(output.status.success(), "{}", said(&output));
            output
        };
        run(&format!("reference --run-idx 1 {setup}"));
        run(&format!("base {setup} hydra.run.dir=base{ranks}"));
        let output = run(&format!("--json unlearn unlearn=regun {setup} unlearn.trainer.max_epochs=1"));
        serde_json::from_slice::<Map<String, Value>>(&output.stdout).unwrap()
    });
    let packs = fs::read_dir(workspace.path("data/.regun-packs")).unwrap().map(|entry| entry.unwrap().path());
    assert_eq!(packs.filter(|path| path.extension().is_some_and(|e| e == "pack")).count(), 1);
    let [on_one, on_two] = results.map(|results| results["regun"].as_object().expect("the metrics of regun").clone());
    assert!(on_one.len() >= 52, "{on_one:?}");
    for (key, value) in &on_one {
        let timed = ["seconds", "images_per_second", "peak_memory"].iter().any(|start| key.starts_with(start));
        assert_eq!(value.is_number(), on_two[key].is_number(), "{key}");
        let (Some(one), Some(two)) = (value.as_f64(), on_two[key].as_f64()) else { continue };
        assert!(timed || (one - two).abs() <= 1e-6 * one.abs().max(1.0), "{key}: {one} on one rank, {two} on two");
    }
    let model = "resnet20_tiny_imagenet_random_forget0.2_42.safetensors";
    let identities = [1, 2].map(|ranks| {
        let path = workspace.path(&format!("cache{ranks}/models/{model}"));
        checkpoint::load(&path).unwrap().manifest.identity
    });
    assert_eq!(identities[0], identities[1]);
    assert_eq!(identities[0].get("classes"), Some("200"));
}
