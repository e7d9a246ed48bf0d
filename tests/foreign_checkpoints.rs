//! Models of another program from end to end: converted, evaluated, unlearned. Also training from given weights.

mod common;
#[path = "common/trained.rs"]
mod trained;

use std::collections::HashMap;
use std::fs;
use std::io::{Cursor, Read, Write};
use std::path::Path;

use common::Workspace;
use regun::checkpoint::{self, Checkpoint};
use regun::config::schema::{ModelConfig, Stem};
use regun::models::{self, State};
use safetensors::Dtype;
use safetensors::tensor::TensorView;
use serde_json::Value;
use tch::{Device, Kind, Tensor};
use trained::{BASE, REFERENCE_1, RETRAINED, SETUP, trained};
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipArchive, ZipWriter};

const MISSING: i32 = 3;
const USAGE: i32 = 2;

fn load(workspace: &Workspace, path: &str) -> Checkpoint {
    checkpoint::load(&workspace.path(path)).unwrap_or_else(|error| panic!("{error}"))
}

fn results(workspace: &Workspace, run: &str) -> Value {
    let text = fs::read_to_string(workspace.path(run).join("results.json")).unwrap();
    serde_json::from_str(&text).unwrap()
}

/// Replaces a model of regun by the file that the Python program would have written: the same weights without the
/// records that only regun writes.
fn as_the_python_program_left_it(workspace: &Workspace, path: &str) -> String {
    let ckpt = path.replace(".safetensors", ".ckpt");
    workspace.regun(&format!("convert {path} {ckpt}")).succeeds();
    let packed = fs::read(workspace.path(&ckpt)).unwrap();
    let mut from = ZipArchive::new(Cursor::new(packed)).unwrap();
    let mut to = ZipWriter::new(Cursor::new(Vec::new()));
    for index in 0..from.len() {
        let mut record = from.by_index(index).unwrap();
        let name = record.name().unwrap().into_owned();
        if !name.ends_with("/regun.json") {
            let mut bytes = Vec::new();
            record.read_to_end(&mut bytes).unwrap();
            let options = SimpleFileOptions::default().compression_method(CompressionMethod::Stored);
            to.start_file(name, options).unwrap();
            to.write_all(&bytes).unwrap();
        }
    }
    fs::write(workspace.path(&ckpt), to.finish().unwrap().into_inner()).unwrap();
    fs::remove_file(workspace.path(path)).unwrap();
    ckpt
}

#[test]
fn a_model_comes_back_from_every_format_as_it_was() {
    let workspace = trained();
    let evaluate = |path: &str, run: &str| {
        workspace.regun(&format!("evaluate --checkpoint {path} {SETUP} hydra.run.dir={run}")).succeeds();
        results(&workspace, run)
    };
    let original = fs::read(workspace.path(BASE)).unwrap();
    let wanted = evaluate(BASE, "original");
    for extension in ["ckpt", "pt", "pth"] {
        let (there, back) = (format!("there.{extension}"), format!("back_{extension}.safetensors"));
        workspace.regun(&format!("convert {BASE} {there}")).succeeds();
        workspace.regun(&format!("convert {there} {back}")).succeeds();
        assert!(fs::read(workspace.path(&back)).unwrap() == original, "{extension}");
        assert_eq!(evaluate(&there, &format!("run_{extension}")), wanted);
    }
}

#[test]
fn convert_says_what_it_did_and_replaces_nothing_unasked() {
    let workspace = trained();
    let said = workspace.regun(&format!("--json convert {BASE} a.ckpt")).succeeds().stdout;
    let said: Value = serde_json::from_str(&said).unwrap();
    assert_eq!(said["target"], "a.ckpt");
    assert_eq!(said["tensors"], load(&workspace, BASE).tensors.len());
    assert_eq!(said["checksum"], load(&workspace, BASE).checksum.as_str());
    assert!(said["notes"][0].as_str().unwrap().contains("optimizer"), "{said}");

    fs::write(workspace.path("kept.pt"), "precious").unwrap();
    workspace.regun(&format!("convert {BASE} kept.pt")).fails(USAGE, &["kept.pt exists", "--force"]);
    assert_eq!(fs::read_to_string(workspace.path("kept.pt")).unwrap(), "precious");
    // A source that cannot be read does not replace the target either.
    workspace.regun("convert absent.ckpt kept.pt --force").fails(MISSING, &["absent.ckpt does not exist"]);
    assert_eq!(fs::read_to_string(workspace.path("kept.pt")).unwrap(), "precious");
    workspace.regun(&format!("convert {BASE} kept.pt --force")).succeeds();
    assert_eq!(load(&workspace, "kept.pt").checksum, load(&workspace, BASE).checksum);
    workspace
        .regun(&format!("convert {BASE} model.onnx"))
        .fails(USAGE, &["model.onnx", ".safetensors, .pt, .pth, .ckpt"]);
}

#[test]
fn a_cache_of_the_python_program_is_unlearned_from() {
    let unlearn = format!("unlearn unlearn=finetune unlearn.trainer.max_epochs=1 {SETUP}");
    let metrics = |workspace: &Workspace| {
        let mut results = results(workspace, "run")["finetune"].take();
        let costs =
            ["seconds_unlearn", "seconds_eval", "images_per_second", "peak_memory_bytes", "peak_gpu_memory_bytes"];
        results.as_object_mut().unwrap().retain(|key, _| !costs.contains(&key.as_str()));
        results
    };
    let ours = trained();
    ours.regun(&format!("{unlearn} hydra.run.dir=run")).succeeds();

    let theirs = trained();
    let reference_2 = REFERENCE_1.replace("-001", "-002");
    for path in [BASE, RETRAINED, REFERENCE_1, &reference_2] {
        as_the_python_program_left_it(&theirs, path);
    }
    let run = theirs.regun(&format!("{unlearn} hydra.run.dir=run")).succeeds();
    assert!(run.stderr.contains("was made by Lightning") && run.stderr.contains("were not checked"), "{run}");
    assert_eq!(metrics(&theirs), metrics(&ours));
    // The result is a model of regun with a known base.
    let unlearned = load(&theirs, "run/unlearned.safetensors");
    assert!(!unlearned.is_foreign());
    assert_eq!(unlearned.checksum, load(&ours, "run/unlearned.safetensors").checksum);
}

#[test]
fn a_model_of_another_program_is_checked_by_its_hyper_parameters() {
    let workspace = trained();
    let ckpt = as_the_python_program_left_it(&workspace, BASE);
    let evaluate = |overrides: &str, path: &str| {
        workspace.regun(&format!("evaluate --checkpoint {path} {SETUP} {overrides} hydra.run.dir=run"))
    };
    evaluate("", &ckpt).succeeds();
    for (overrides, difference) in [
        ("split.seed=1", "split.seed: found 42, wanted 1"),
        ("split.heldout_frac=0.2", "split.heldout_frac: found 0.1, wanted 0.2"),
        ("split.scheme=stratified", "split.scheme: found random, wanted stratified"),
        ("data.debug_subset_size=299", "data.debug_subset_size: found 300, wanted 299"),
        ("data.num_classes=11", "model.model.num_classes: found 10, wanted 11"),
    ] {
        let run = evaluate(overrides, &ckpt).fails(MISSING, &[&ckpt, "does not fit", difference, "hint: "]);
        assert!(!run.stderr.contains("model.model.name"), "what fits is not listed\n{run}");
    }
    let unlearn = |overrides: &str| workspace.regun(&format!("unlearn unlearn=finetune {SETUP} {overrides}"));
    let seed_43 = format!("seed=43 split.seed=42 run.base_weights={ckpt}");
    unlearn(&seed_43).fails(MISSING, &["does not fit", "seed: found 42, wanted 43"]);

    // After conversion it is checked in the same way.
    workspace.regun(&format!("convert {ckpt} theirs.safetensors")).succeeds();
    evaluate("", "theirs.safetensors").succeeds();
    evaluate("split.seed=1", "theirs.safetensors").fails(MISSING, &["split.seed: found 42, wanted 1"]);

    // Weights without a configuration are accepted if they fit the network.
    let python = as_weights_alone(&workspace, &ckpt);
    let run = evaluate("split.seed=1 mul_eval.mia_num_models=2", &python);
    assert!(run.stderr.contains("nor its data.name"), "{run}");
    let other = format!("evaluate --checkpoint {python} {SETUP} model=resnet model.model.name=resnet18");
    workspace.regun(&other).fails(MISSING, &[&python, "not those of this architecture", "model.model.name"]);
}

/// Writes a `.pt` of another program with these tensors.
fn save_foreign(workspace: &Workspace, name: &str, config: &str, tensors: Vec<(String, Tensor)>) {
    let manifest = checkpoint::Manifest { origin: Some("PyTorch".into()), config: config.into(), ..Default::default() };
    let foreign = Checkpoint { manifest, tensors, checksum: String::new(), path: name.into() };
    checkpoint::pytorch::save_state_dict(&workspace.path(name), &foreign).unwrap();
}

/// The tensors of a model with other names.
fn renamed(model: &Checkpoint, rename: impl Fn(&str) -> String) -> Vec<(String, Tensor)> {
    model.tensors.iter().map(|(name, tensor)| (rename(name), tensor.shallow_clone())).collect()
}

#[test]
fn names_are_fitted_to_the_architecture() {
    let workspace = trained();
    let base = load(&workspace, BASE);
    let evaluate = |path: &str, more: &str| {
        workspace.regun(&format!("evaluate --checkpoint {path} {SETUP} hydra.run.dir=run {more}"))
    };
    evaluate(BASE, "").succeeds();
    let wanted = results(&workspace, "run");
    let ones = |shape: &[i64]| Tensor::ones(shape, (Kind::Float, Device::Cpu));

    // Wrappers in any nesting, also inside of the names, EMA's counter, profilers' counters, a criterion, a metric.
    let compiled =
        |name: &str| format!("model.module._orig_mod.{}", name.replace("layer1.", "layer1._orig_mod.module."));
    let mut wrapped = renamed(&base, compiled);
    wrapped.push(("model.n_averaged".into(), Tensor::from(3_i64)));
    wrapped.push(("model.module._orig_mod.layer1.total_ops".into(), ones(&[1])));
    wrapped.push(("model.module._orig_mod.total_params".into(), ones(&[1])));
    wrapped.push(("criterion.weight".into(), ones(&[10])));
    wrapped.push(("train_acc.confmat".into(), ones(&[10, 10])));
    save_foreign(&workspace, "wrapped.pt", "", wrapped);
    let run = evaluate("wrapped.pt", "").succeeds();
    assert_eq!(results(&workspace, "run"), wanted);
    assert!(run.stderr.contains("left out") && run.stderr.contains("criterion.weight"), "{run}");
    // `convert` knows the architecture by its names.
    workspace.regun("convert wrapped.pt plain.safetensors").succeeds();
    assert_eq!(load(&workspace, "plain.safetensors").checksum, base.checksum);

    // Half precision, in a safetensors file of another program: with its metadata or without.
    let half: Vec<(String, Tensor)> = renamed(&base, |name| format!("backbone.{name}"));
    let half = half.into_iter().map(|(name, tensor)| match tensor.kind() {
        Kind::Float => (name, tensor.to_kind(Kind::Half)),
        _ => (name, tensor),
    });
    let half: Vec<(String, Tensor)> = half.collect();
    let bytes = |tensor: &Tensor| {
        let mut bytes = vec![0; tensor.numel() * tensor.kind().elt_size_in_bytes()];
        tensor.copy_data_u8(&mut bytes, tensor.numel());
        bytes
    };
    let contents: Vec<_> = half.iter().map(|(name, tensor)| (name, bytes(&tensor.contiguous()), tensor)).collect();
    let views = || {
        contents.iter().map(|(name, bytes, tensor)| {
            let dtype = if tensor.kind() == Kind::Half { Dtype::F16 } else { Dtype::I64 };
            let shape = tensor.size().iter().map(|&side| side as usize).collect();
            (name.as_str(), TensorView::new(dtype, shape, bytes).unwrap())
        })
    };
    for metadata in [None, Some(HashMap::from([("format".to_owned(), "pt".to_owned())]))] {
        let file = safetensors::serialize(views(), metadata).unwrap();
        fs::write(workspace.path("half.safetensors"), file).unwrap();
        let run = evaluate("half.safetensors", "").succeeds();
        assert!(run.stderr.contains("was made by another program"), "{run}");
    }

    // Two networks in one file: the user chooses, by the start of the names or by the key of the dict.
    let mut two = renamed(&base, |name| format!("net.{name}"));
    let teacher = load(&workspace, RETRAINED);
    two.extend(renamed(&teacher, |name| format!("ema.{name}")));
    save_foreign(&workspace, "two.pt", "", two);
    let run = evaluate("two.pt", "").fails(MISSING, &["`ema` (", "`net` (", "--weights-key"]);
    assert!(!run.stderr.contains("`net.layer1`"), "{run}");
    evaluate("two.pt", "--weights-key net").succeeds();
    assert_eq!(results(&workspace, "run"), wanted);
    evaluate("two.pt", "--weights-key nothing").fails(MISSING, &["--weights-key nothing", "the file itself"]);
    workspace.regun("convert two.pt ema.safetensors --weights-key ema").succeeds();
    assert_eq!(load(&workspace, "ema.safetensors").checksum, teacher.checksum);
    // A command that finds its base model by the configuration takes the option too.
    let unlearn = format!("unlearn unlearn=finetune unlearn.trainer.max_epochs=1 {SETUP} run.base_weights=two.pt");
    workspace.regun(&unlearn).fails(MISSING, &["two.pt", "--weights-key"]);
    workspace.regun(&format!("{unlearn} --weights-key net")).succeeds();

    // A deeper network is not cut to a smaller one.
    let mut deeper = renamed(&base, str::to_owned);
    deeper.push(("layer1.3.conv1.weight".into(), ones(&[16, 16, 3, 3])));
    save_foreign(&workspace, "deeper.pt", "", deeper);
    evaluate("deeper.pt", "")
        .fails(MISSING, &["not those of this architecture", "1 unexpected: layer1.3.conv1.weight"]);
}

/// An old file of the Python program says `cifar_stem` in place of `stem`.
#[test]
fn the_old_spelling_of_the_stem_in_a_checkpoint_fits() {
    let workspace = Workspace::new();
    let setup = "data=digits model=resnet data.debug_subset_size=100 trainer.threads=1";
    let model = ModelConfig { stem: Some(Stem::Cifar), ..ModelConfig::plain("resnet18", 10) };
    let network = models::build(&model).unwrap();
    let state = State::init(network.layout(), 1, "test", Kind::Float, Device::Cpu).unwrap();
    let tensors = || state.named().map(|(name, tensor)| (name.to_owned(), tensor.shallow_clone())).collect::<Vec<_>>();
    let config = |stem: &str| format!("{{\"model\": {{\"model\": {{\"name\": \"resnet18\", {stem}}}}}, \"seed\": 42}}");
    for (stem, fits) in [
        ("\"cifar_stem\": true", true),
        ("\"cifar_stem\": false", false),
        ("\"stem\": null, \"cifar_stem\": true", true),
    ] {
        save_foreign(&workspace, "old.ckpt", &config(stem), tensors());
        // The references are missing, which is found after the model.
        let run = workspace.regun(&format!("evaluate --checkpoint old.ckpt {setup}")).fails(MISSING, &[]);
        let refused = run.stderr.contains("model.model.stem: found null, wanted cifar");
        assert_eq!(refused, !fits, "{stem}: {run}");
    }
}

/// Writes a `.pt` with the same weights and nothing else.
fn as_weights_alone(workspace: &Workspace, ckpt: &str) -> String {
    let checkpoint = load(workspace, ckpt);
    let manifest = checkpoint::Manifest { origin: Some("PyTorch".into()), ..Default::default() };
    let path = Path::new("weights.pt");
    let bare = Checkpoint { manifest, ..checkpoint };
    checkpoint::pytorch::save_state_dict(&workspace.path("weights.pt"), &bare).unwrap();
    path.display().to_string()
}

#[test]
fn of_two_models_for_one_name_ours_is_taken_unless_theirs_is_named() {
    let workspace = trained();
    // The Python program's file is of another split, so that it is refused if it is taken.
    let theirs = BASE.replace(".safetensors", ".ckpt");
    let other = format!("base {} hydra.run.dir=other", SETUP.replace("split.forget_frac=0.2", "split.forget_frac=0.3"));
    let there = BASE.replace("forget0.2", "forget0.3");
    workspace.regun(&other).succeeds();
    workspace.regun(&format!("convert {there} {theirs}")).succeeds();

    workspace.regun(&format!("unlearn unlearn=finetune unlearn.trainer.max_epochs=1 {SETUP}")).succeeds();
    let evaluate = format!("evaluate --checkpoint {theirs} {SETUP}");
    workspace.regun(&evaluate).fails(MISSING, &[&theirs, "split forget_frac: found 0.3, wanted 0.2"]);
    // Without regun's file, the Python program's file is found under the same name.
    fs::remove_file(workspace.path(BASE)).unwrap();
    let unlearn = format!("unlearn unlearn=finetune {SETUP}");
    workspace.regun(&unlearn).fails(MISSING, &[&theirs, "split forget_frac: found 0.3, wanted 0.2"]);
}

#[test]
fn training_starts_from_the_weights_that_are_given() {
    let workspace = trained();
    let start = load(&workspace, BASE);
    workspace.regun(&format!("convert {BASE} start.pth")).succeeds();
    let reference = format!("reference --run-idx 1 {SETUP} model.model.pretrained=true");
    workspace
        .regun(&reference)
        .fails(USAGE, &["resnet20 has no published pretrained weights", "model.model.pretrained_path"]);
    let absent = format!("{reference} model.model.pretrained_path=absent.pth");
    workspace.regun(&absent).fails(MISSING, &["absent.pth"]);
    // With a learning rate near zero, training ends with the weights that it started from.
    let given =
        format!("{reference} model.model.pretrained_path=start.pth model.optim.lr=1e-12 model.optim.weight_decay=0");
    workspace.regun(&given).succeeds();
    let made = load(&workspace, REFERENCE_1);
    assert_eq!(made.manifest.provenance.get("pretrained weights (sha256)"), Some(start.checksum.as_str()));
    for ((name, first), (_, last)) in
        start.tensors.iter().zip(&made.tensors).filter(|((name, _), _)| name.ends_with("weight"))
    {
        let difference = (first - last).abs().max().double_value(&[]);
        assert!(difference < 1e-6, "{name} moved by {difference}");
    }
    // Evaluation needs only the weights of the checkpoint, no pretrained ones.
    let evaluate = format!("evaluate --checkpoint {BASE} {SETUP} model.model.pretrained=true");
    workspace.regun(&evaluate).succeeds();
}
