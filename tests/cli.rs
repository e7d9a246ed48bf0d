//! The command line: help, examples, usage errors, and the commands that only print.

#[path = "../build/commit.rs"]
#[allow(dead_code)] // The build script calls `record`.
mod commit;
mod common;

use std::collections::{BTreeMap, BTreeSet};

use common::Workspace;
use serde_json::Value;

/// The names that the help lists below `Commands:`, without `help`.
fn commands(workspace: &Workspace) -> Vec<String> {
    let help = workspace.regun("--help").succeeds().stdout;
    let (_, list) = help.split_once("Commands:\n").expect("a list of commands");
    let names =
        list.lines().take_while(|line| line.starts_with("  ")).filter_map(|line| line.split_whitespace().next());
    names.filter(|name| *name != "help").map(str::to_owned).collect()
}

#[test]
fn the_example_of_every_command_works() {
    let workspace = Workspace::new();
    let commands = commands(&workspace);
    for needed in ["reference", "base", "unlearn", "evaluate", "pipeline", "convert", "splits", "config"] {
        assert!(commands.iter().any(|command| command == needed), "{needed} is not among {commands:?}");
    }
    for command in commands {
        let help = workspace.regun(&format!("{command} --help")).succeeds();
        let example = help.stdout.lines().find_map(|line| line.trim().strip_prefix("Example: regun "));
        let words: Vec<&str> = example.unwrap_or_else(|| panic!("no example\n{help}")).split_whitespace().collect();
        assert_eq!(words[0], command, "the example is of another command\n{help}");

        if command == "convert" {
            continue; // Its arguments are files, not overrides.
        }
        // The overrides must resolve. The other words are options and their values.
        let mut overrides: Vec<String> = Vec::new();
        let mut rest = words[1..].iter();
        while let Some(word) = rest.next() {
            match *word {
                "--methods" => {
                    let methods = rest.next().expect("names of methods").split(',');
                    overrides.extend(methods.map(|method| format!("unlearn={method}")).take(1));
                }
                "--run-idx" | "--checkpoint" => assert!(rest.next().is_some(), "{word} without its value\n{help}"),
                option if option.starts_with("--") => assert!(help.stdout.contains(option), "{option}\n{help}"),
                given => overrides.push(given.to_owned()),
            }
        }
        workspace.regun(&format!("config --resolve {}", overrides.join(" "))).succeeds();
    }
}

#[test]
fn wrong_usage_is_named_and_ends_with_exit_code_2() {
    let workspace = Workspace::new();
    for (arguments, part) in [
        ("unlern data=digits", "unlearn"),
        ("--frobnicate base", "--frobnicate"),
        ("reference data=digits", "--run-idx"),
        ("reference --run-idx one data=digits", "one"),
        ("evaluate data=digits", "--checkpoint"),
        ("pipeline data=digits model=resnet20 --methods regun,finetune,regun", "regun twice"),
        ("pipeline data=digits model=resnet20 --methods regun,bogus", "bogus"),
        ("pipeline data=digits model=resnet20", "no unlearning method is chosen"),
        ("unlearn data=digits model=resnet20", "no unlearning method is chosen"),
    ] {
        workspace.regun(arguments).fails(2, &[part]);
    }
    let without_command = workspace.regun("");
    assert!(without_command.stderr.contains("Usage: regun"), "{without_command}");
    assert!(workspace.path("").read_dir().unwrap().next().is_none(), "a refused command leaves nothing behind");
}

#[test]
fn splits_are_a_partition_of_the_training_images() {
    let workspace = Workspace::new();
    // Every fifth of the 1,797 digits is a test image.
    let images = (0..1797).filter(|i| i % 5 != 4).count();
    for (overrides, wanted) in [
        // The held-out set is a tenth of all images. The other sets are fractions of the remaining 1,294.
        ("split.forget_frac=0.2 split.retain_frac=0.7", [("heldout", 144), ("val", 129), ("forget", 259)]),
        ("split.heldout_frac=0 split.validation_frac=0", [("heldout", 0), ("val", 0), ("forget", 14)]),
        ("data.debug_subset_size=100 split.forget_frac=0.5", [("heldout", 10), ("val", 9), ("forget", 45)]),
    ] {
        let images = if overrides.contains("debug") { 100 } else { images };
        let finished = workspace.regun(&format!("splits data=digits {overrides}")).succeeds();
        let parts: BTreeMap<String, Vec<usize>> = serde_json::from_str(&finished.stdout).unwrap();
        assert_eq!(parts.keys().collect::<Vec<_>>(), ["forget", "heldout", "retain", "retain_subset", "val"]);
        for (name, part) in &parts {
            assert!(part.is_sorted_by(|a, b| a < b), "{name} is not sorted\n{finished}");
        }
        for (name, size) in wanted {
            assert_eq!(parts[name].len(), size, "{name}\n{finished}");
        }
        let in_parts: Vec<usize> =
            ["retain", "forget", "heldout", "val"].iter().flat_map(|p| parts[*p].clone()).collect();
        assert_eq!(in_parts.len(), images);
        assert_eq!(in_parts.iter().copied().collect::<BTreeSet<_>>(), (0..images).collect());
        assert_eq!(parts["retain_subset"].len(), parts["forget"].len().min(parts["retain"].len()));
        assert!(parts["retain_subset"].iter().all(|i| parts["retain"].binary_search(i).is_ok()));
    }
}

#[test]
fn the_class_scheme_forgets_the_chosen_classes() {
    let workspace = Workspace::new();
    let splits = |overrides: &str| -> BTreeMap<String, Vec<usize>> {
        let finished = workspace.regun(&format!("--json splits data=digits split.scheme=class {overrides}")).succeeds();
        serde_json::from_str(&finished.stdout).unwrap()
    };
    let both = splits("split.forget_classes=[3,8] split.forget_frac=1")["forget"].clone();
    let three = splits("split.forget_classes=[3] split.forget_frac=1")["forget"].clone();
    let eight = splits("split.forget_classes=[8] split.forget_frac=1")["forget"].clone();
    assert_eq!([three, eight].concat().into_iter().collect::<BTreeSet<_>>(), both.into_iter().collect());
}

/// The configuration that `config` prints, parsed from JSON.
fn tree(workspace: &Workspace, arguments: &str) -> Value {
    let finished = workspace.regun(&format!("--json config {arguments}")).succeeds();
    serde_json::from_str(&finished.stdout).unwrap_or_else(|error| panic!("{error}\n{finished}"))
}

#[test]
fn config_shows_interpolations_as_written_or_resolved() {
    let workspace = Workspace::new();
    let overrides = "unlearn=regun data=digits model=resnet20 seed=7 paths.cache_dir=store";
    let written = tree(&workspace, overrides);
    assert_eq!(written["split"]["seed"], "${seed}");
    assert_eq!(written["seed"], 7);
    let resolved = tree(&workspace, &format!("--resolve {overrides}"));
    assert_eq!(resolved["split"]["seed"], 7);
    assert_eq!(resolved["run"]["base_weights"], "store/models/resnet20_digits_random_forget0.01_7.ckpt");
    assert!(!resolved.to_string().contains("${"), "{resolved}");
    assert_eq!(written.get("hydra"), None, "Hydra's own section does not belong to the job's configuration");
}

#[test]
fn a_printed_configuration_loads_to_the_same_values() {
    let workspace = Workspace::new();
    // YAML readers may read these texts as other types.
    let overrides = "unlearn=regun data=digits model=resnet20 run.experiment_id='null' logging.entity='1e3' \
        logging.project='' logging.name='no' logging.tags=['#x','*y',-] paths.cache_dir='a:b'";
    let wanted = tree(&workspace, &format!("--resolve {overrides} hydra.run.dir=here"));
    for resolve in ["", "--resolve"] {
        let printed = workspace.regun(&format!("config {resolve} {overrides} hydra.run.dir=here")).succeeds().stdout;
        std::fs::write(workspace.path("printed.yaml"), printed).unwrap();
        let reloaded = tree(&workspace, "--resolve --config-dir . --config-name printed");
        for key in ["data", "model", "unlearn", "trainer", "split", "run", "mul_eval", "logging"] {
            assert_eq!(reloaded[key], wanted[key], "{key}, printed with config {resolve}");
        }
    }
}

#[test]
fn config_refuses_an_override_of_the_wrong_type_only_with_resolve() {
    let workspace = Workspace::new();
    workspace.regun("config seed=many").succeeds();
    workspace.regun("config --resolve seed=many").fails(2, &["`seed`", "many", "an integer"]);
}

#[test]
fn a_requested_but_absent_gpu_ends_with_exit_code_3() {
    let workspace = Workspace::new();
    let run = |accelerator: &str| {
        let mut job = workspace.prepare(&format!(
            "reference --run-idx 1 data=digits model=resnet20 data.debug_subset_size=100 trainer.max_epochs=1 \
             trainer.accelerator={accelerator}"
        ));
        // Hides the GPUs of a machine that has some.
        job.command.env("CUDA_VISIBLE_DEVICES", "");
        job.run()
    };
    run("gpu").fails(3, &["trainer.accelerator=gpu: no GPU: "]);
    assert!(!workspace.path("outputs").exists());
    // Without `trainer.accelerator=gpu` a missing GPU is not mentioned.
    let on_cpu = run("auto").succeeds();
    assert!(!on_cpu.stderr.contains("GPU"), "{on_cpu}");
}

/// Hydra's own options, in their short and long forms.
#[test]
fn the_options_of_hydra_work() {
    let workspace = Workspace::new();
    let write = |path: &str, text: &str| {
        let path = workspace.path(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    };
    write("conf/experiment/old.yaml", "# @package _global_\ndefaults:\n  - override /data: digits.yaml\nseed: 3\n");
    write("root/start.yaml", "defaults:\n  - config\n  - _self_\nseed: 4\n");
    let seed = |arguments: &str| tree(&workspace, arguments)["seed"].clone();
    for option in ["-c conf", "-cd conf", "-cd=conf", "--config-dir conf"] {
        assert_eq!(seed(&format!("{option} experiment=old")), 3, "{option}");
    }
    assert_eq!(seed("-cp root -cn start"), 4);
    assert_eq!(seed("--config-path root --config-name start.yaml -cd conf experiment=old"), 4);

    let shown = |arguments: &str| workspace.regun(arguments).succeeds().stdout;
    let job = shown("base --cfg job seed=9 hydra.run.dir=here");
    assert!(job.contains("seed: 9") && job.contains("seed: ${seed}") && !job.contains("hydra:\n"), "{job}");
    assert!(shown("base -c job --resolve seed=9").contains("  seed: 9\n"));
    let hydra = shown("base --cfg hydra hydra.run.dir=here");
    assert!(hydra.starts_with("hydra:\n  run:\n    dir: here\n") && !hydra.contains("seed:"), "{hydra}");
    let all = shown("base --cfg all");
    assert!(all.starts_with("hydra:\n") && all.contains("\nseed: 42\n"), "{all}");
    assert_eq!(shown("base --cfg job -p split.forget_frac"), "0.01\n");
    let split = shown("base --cfg job --package split --resolve");
    assert!(split.starts_with("# @package split\nseed: 42\nscheme: random\n"), "{split}");
    assert_eq!(shown("base --cfg job -p _global_"), shown("base --cfg job"));
    workspace.regun("base --cfg job -p splitt").fails(2, &["--package splitt", "did you mean `split`"]);
    workspace.regun("base --cfg conf").fails(2, &["--cfg conf", "job, hydra or all", "--config-dir conf"]);
    workspace.regun("base --resolve").fails(2, &["--cfg"]);

    let list = shown("base --info defaults -cd conf experiment=old");
    let rows: Vec<&str> = list.lines().filter(|line| line.starts_with("| ")).collect();
    assert_eq!(
        rows,
        [
            "| Config path    | Package | _self_ | Parent |",
            "| data/digits    | data    | False  | config |",
            "| model/resnet   | model   | False  | config |",
            "| config         |         | True   |        |",
            "| experiment/old |         | True   | config |",
        ]
    );
    let known = shown("base --info defaults-tree -cd conf experiment=old");
    assert!(known.contains("config:\n  data: digits\n  model: resnet\n  unlearn: null\n  _self_\n"), "{known}");
    assert!(shown("base -i searchpath -cd conf").contains("file://conf"));
    let everything = shown("base --info");
    for title in ["Config search path", "Defaults Tree", "Defaults List", "Config\n******\n"] {
        assert!(everything.contains(title), "{title}\n{everything}");
    }
    let plugins = workspace.regun("base --info plugins");
    assert!(plugins.stderr.contains("all, config, defaults, defaults-tree, searchpath"), "{plugins}");
    assert!(!workspace.path("outputs").exists(), "nothing has run");
}

/// Spellings of other programs. The message says how the setting is written here.
#[test]
fn settings_in_the_style_of_other_programs_are_explained() {
    let workspace = Workspace::new();
    for (arguments, parts) in [
        ("base --batch-size 128 data=digits", &["no option `--batch-size`", "`data.batch_size=128`"][..]),
        ("base --batch_size=128", &["`data.batch_size=128`"]),
        ("unlearn unlearn=regun --lr=0.1", &["no option `--lr`", "`model.optim.lr=0.1` or `unlearn.optim.lr=0.1`"]),
        ("base -lr 0.1", &["no option `-lr`", "`model.optim.lr=0.1`"]),
        ("base --epochs 5", &["`trainer.max_epochs=5`"]),
        ("base --trainer.max_epochs 5", &["`trainer.max_epochs=5`"]),
        ("base --seed 5", &["`seed=5`"]),
        ("base --gpus 2", &["`trainer.devices=2`"]),
        ("base --dataset cifar100", &["`data=cifar100`"]),
        ("base --method regun", &["`unlearn=regun`"]),
        ("base --forget-ratio 0.1", &["`split.forget_frac=0.1`"]),
        ("base --frobnicate", &["no option `--frobnicate`", "key=value"]),
        ("base -m seed=1,2", &["sweeps are not supported", "a loop of the shell"]),
        ("data=digits base", &["`data=digits`", "regun base data=digits"]),
        ("base batch_size=128", &["did you mean `data.batch_size=128`?"]),
        ("base optimizer.lr=1", &["did you mean `model.optim.lr=1`?"]),
        ("base unlearn=scrub lr=0.1", &["did you mean `model.optim.lr=0.1` or `unlearn.optim.lr=0.1`?"]),
        ("base max_epochs=3", &["did you mean `trainer.max_epochs=3`?"]),
        ("base trainer.batch_size=3", &["did you mean `data.batch_size=3`?"]),
        ("base weight_decay=0", &["did you mean `model.optim.weight_decay=0`?"]),
        ("base learning_rate=0.1", &["did you mean `model.optim.lr=0.1`?"]),
        ("base dataset=cifar100", &["did you mean `data=cifar100`?"]),
        ("base method=regun", &["did you mean `unlearn=regun`?"]),
        ("base model=resnet50", &["`model=resnet model.model.name=resnet50`"]),
        ("base model=ResNet-34", &["`model=resnet model.model.name=resnet34`"]),
        ("base model=vit_b_32", &["`model=vit model.model.name=vit_b_32`"]),
        ("base model=swin_s", &["`model=swin model.model.name=swin_s`"]),
        ("base model=resnet_20", &["`model=resnet20`"]),
        ("base split.forget_classes=[3, 5]", &["needs quotes for the shell"]),
        ("base data.batch_size = 3", &["`data.batch_size` is not an override", "without blanks"]),
        ("base hydra/launcher=submitit_slurm", &["no group `hydra/launcher`", "mpirun", "srun"]),
    ] {
        workspace.regun(arguments).fails(2, parts);
    }
    assert!(workspace.path("").read_dir().unwrap().next().is_none(), "a refused command leaves nothing behind");
}

/// `~` and `$HOME` at the head of a path, wherever it is read.
#[test]
fn the_home_folder_can_stand_at_the_head_of_every_path() {
    let workspace = Workspace::new();
    std::fs::create_dir_all(workspace.path("home/conf/experiment")).unwrap();
    std::fs::write(workspace.path("home/conf/experiment/e.yaml"), "# @package _global_\nseed: 8\n").unwrap();
    let run = |arguments: &str, variables: &[(&str, &str)]| {
        let mut job = workspace.prepare(arguments);
        job.command.env("HOME", workspace.path("home")).envs(variables.iter().copied());
        job.run()
    };
    let home = workspace.path("home");
    let below = |path: &str| home.join(path).display().to_string();

    let quick = "reference --run-idx 1 data=digits model=resnet20 data.debug_subset_size=100 trainer.max_epochs=1 \
                 trainer.threads=1";
    run(quick, &[("CACHE_DIR", "~/cache"), ("OUTPUTS_DIR", "$HOME/outputs")]).succeeds();
    assert!(home.join("cache/models").is_dir() && home.join("outputs").is_dir());

    let absent = "splits data=cifar10 data.download=false";
    for data in ["~/data", "$HOME/data", "${HOME}/data"] {
        run(absent, &[("DATA_DIR", data)]).fails(3, &[&below("data")]);
    }
    for data in ["'~/data'", "~/data", "$HOME/data", "${HOME}/data"] {
        run(&format!("{absent} paths.data_dir={data}"), &[]).fails(3, &[&below("data")]);
    }
    run("splits data=image_folder data.num_classes=2 data.data_dir='~/pictures'", &[]).fails(3, &[&below("pictures")]);
    run("evaluate --checkpoint ~/model.pt data=digits", &[]).fails(3, &[&below("model.pt")]);
    run("convert ~/model.pt ~/model.safetensors", &[]).fails(3, &[&below("model.pt")]);
    run("unlearn unlearn=finetune data=digits run.base_weights='~/base.ckpt'", &[]).fails(3, &[&below("base")]);
    let shown = run("config -cd ~/conf experiment=e", &[]).succeeds();
    assert!(shown.stdout.contains("seed: 8"), "{shown}");
    assert_eq!(run("config --config-dir=~/conf experiment=e", &[]).succeeds().stdout, shown.stdout);
    assert!(!workspace.path("~").exists() && !workspace.path("$HOME").exists());
}

/// The commit of a build: of a clone, of a worktree (where `.git` is a file), of an archive, in a foreign repository.
#[test]
fn a_build_knows_its_commit_wherever_git_does() {
    let workspace = Workspace::new();
    let git = |folder: &str, arguments: &str| {
        let mut git = std::process::Command::new("git");
        git.args(["-c", "user.name=a", "-c", "user.email=a@b"]).args(arguments.split_whitespace());
        for variable in ["GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE"] {
            git.env_remove(variable);
        }
        let output = git.current_dir(workspace.path(folder)).output().expect("git");
        assert!(output.status.success(), "git {arguments}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    };
    let write = |path: &str, text: &str| {
        std::fs::create_dir_all(workspace.path(path).parent().unwrap()).unwrap();
        std::fs::write(workspace.path(path), text).unwrap();
    };
    let commit_of = |folder: &str| commit::of(&workspace.path(folder), &["src", "Cargo.toml"]);
    write("repository/Cargo.toml", "");
    write("repository/src/main.rs", "fn main() {}");
    assert_eq!(commit_of("repository"), None, "an archive");
    git("repository", "init -q");
    assert_eq!(commit_of("repository"), None, "an archive in a repository that does not know it");
    git("repository", "add .");
    git("repository", "commit -q -m first");
    let first = git("repository", "rev-parse HEAD");
    git("repository", "worktree add -q ../worktree");
    for folder in ["repository", "worktree"] {
        assert_eq!(commit_of(folder), Some((first.clone(), None)), "{folder}");
        write(&format!("{folder}/README.md"), "no source");
        assert_eq!(commit_of(folder), Some((first.clone(), None)), "{folder}: a file that is no source");
        for (path, text) in [("src/main.rs", "fn main() { }"), ("src/new.rs", "")] {
            write(&format!("{folder}/{path}"), text);
            let (dirty, log) = commit_of(folder).unwrap();
            assert_eq!(dirty, format!("{first}-dirty"), "{folder}: {path}");
            let log = log.expect("the file that changes with a commit");
            let before = std::fs::read(&log).unwrap();
            git(folder, "add .");
            git(folder, "commit -q -m next");
            assert_ne!(std::fs::read(&log).unwrap(), before, "{folder}: {path}");
            assert_eq!(commit_of(folder), Some((git(folder, "rev-parse HEAD"), None)));
            git(folder, "reset -q --hard HEAD~1");
        }
    }
}

/// The smallest run whose values are the defaults but for its size.
const SMALL: &str = "data=digits model=resnet20 data.debug_subset_size=150 trainer.max_epochs=1 trainer.threads=1 \
                     mul_eval.mia_num_models=1 split.forget_frac=0.1";

#[test]
fn no_command_warns_about_its_own_defaults() {
    let workspace = Workspace::new();
    let base = "cache/models/resnet20_digits_random_forget0.1_42.safetensors";
    for command in [
        format!("reference --run-idx 1 {SMALL}"),
        format!("base {SMALL}"),
        format!("unlearn unlearn=finetune {SMALL}"),
        format!("evaluate --checkpoint {base} {SMALL}"),
        format!("pipeline unlearn=finetune {SMALL}"),
        format!("convert {base} base.pt"),
        "splits data=digits".into(),
        "config".into(),
        "config --resolve unlearn=regun".into(),
        "doctor data=digits model=resnet20".into(),
    ] {
        let run = workspace.regun(&command).succeeds();
        // A flag of the results is no warning about a setting.
        let warns = |line: &&str| line.starts_with("warning:") && !line.contains("over-unlearning");
        assert_eq!(run.stderr.lines().find(warns), None, "{run}");
    }
    // Fractions that the user has chosen are compared.
    let chosen = workspace.regun("splits data=digits split.retain_frac=0.5").succeeds();
    assert!(chosen.stderr.contains("split.validation_frac + forget_frac + retain_frac is 0.61"), "{chosen}");
}

/// The lines of `metrics.jsonl` in the run folder `run`.
fn metrics(workspace: &Workspace, run: &str) -> Vec<Value> {
    let text = std::fs::read_to_string(workspace.path(run).join("metrics.jsonl")).unwrap_or_default();
    text.lines().map(|line| serde_json::from_str(line).expect("a line of JSON")).collect()
}

#[test]
fn limits_of_batches_have_lightnings_meaning() {
    let workspace = Workspace::new();
    // 14 batches of 8 in a pass over the 107 retained images; 2 in the 14 images of val, which the metrics see, too.
    let run = |name: &str, overrides: &str| {
        let command = format!("reference --run-idx 1 {SMALL} data.batch_size=8 hydra.run.dir='{name}' {overrides}");
        workspace.regun(&command).succeeds();
        let facts = std::fs::read_to_string(workspace.path(name).join("run.json")).unwrap();
        let facts: Value = serde_json::from_str(&facts).unwrap();
        let images = facts["work"][0]["images"].clone();
        let lines = metrics(&workspace, name);
        let images = |of: &str| images[of].as_u64().unwrap_or(0);
        (images("reference 1/retain"), images("evaluate/val") - 14, lines)
    };
    let (trained, validated, lines) = run("whole", "");
    assert_eq!((trained, validated, lines.len()), (107, 14, 1));
    let (trained, validated, _) = run("counted", "trainer.limit_train_batches=2 trainer.limit_val_batches=1");
    assert_eq!((trained, validated), (16, 8));
    let (trained, validated, lines) = run("divided", "trainer.limit_train_batches=0.5 trainer.limit_val_batches=0");
    assert_eq!((trained, validated, lines[0].get("val/loss")), (56, 0, None));
    for nothing in ["trainer.limit_train_batches=0", "trainer.max_epochs=0"] {
        let (trained, validated, lines) = run(nothing, nothing);
        assert_eq!((trained, validated, lines.len()), (0, 0, 0), "{nothing}");
    }

    // The same batches in each epoch have the same loss as long as the weights stay.
    let still = "trainer.max_epochs=2 model.optim.lr=1e-12 model.optim.weight_decay=0 trainer.precision=64";
    let losses = |lines: &[Value]| lines.iter().map(|line| line["train/loss"].as_f64().unwrap()).collect::<Vec<_>>();
    let (trained, validated, lines) = run("overfit", &format!("{still} trainer.overfit_batches=1"));
    assert_eq!((trained, validated), (16, 16));
    let [first, second] = losses(&lines)[..] else { panic!("two epochs") };
    assert!((first - second).abs() < 1e-6, "{first} {second}");
    let (.., lines) = run("shuffled", &format!("{still} trainer.limit_train_batches=1"));
    let [first, second] = losses(&lines)[..] else { panic!("two epochs") };
    assert!((first - second).abs() > 1e-3, "{first} {second}");

    let refused = format!("reference --run-idx 1 {SMALL} trainer.limit_train_batches=0.01");
    workspace.regun(&refused).fails(2, &["trainer.limit_train_batches=0.01", "leaves none"]);
}

#[test]
fn a_fast_dev_run_leaves_no_model_among_the_real_ones() {
    let workspace = Workspace::new();
    let run = workspace.regun(&format!("pipeline unlearn=finetune {SMALL} trainer.fast_dev_run=true")).succeeds();
    assert!(run.stderr.contains("trainer.limit_test_batches=1: evaluations see the first 128 of 150"), "{run}");
    assert!(workspace.path("cache/fast_dev_run/models").is_dir() && !workspace.path("cache/models").exists());
}
