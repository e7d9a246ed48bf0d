//! Reading and writing files of PyTorch, torchvision and Lightning: compared with files that these programs wrote
//! (`tests/fixtures/make_checkpoints.py`), and with torch itself if Python has it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use regun::checkpoint::{self, Checkpoint, Facts, Manifest, pytorch};
use regun::config::schema::{ModelConfig, Stem};
use regun::distributed::World;
use regun::error::ErrorKind;
use regun::models::{self, State};
use regun::pretrained;
use tch::{Device, Kind, Tensor};

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/checkpoints").join(name)
}

fn load(path: impl AsRef<Path>) -> Checkpoint {
    checkpoint::load(path.as_ref()).unwrap_or_else(|error| panic!("{error}"))
}

fn get<'a>(checkpoint: &'a Checkpoint, name: &str) -> &'a Tensor {
    let found = checkpoint.tensors.iter().find(|(known, _)| known == name);
    &found.unwrap_or_else(|| panic!("no {name}")).1
}

/// Asserts that the tensors are those of `weights()` in the script.
fn assert_is_the_example(checkpoint: &Checkpoint) {
    let ramp = Tensor::arange(6, (Kind::Float, Device::Cpu)).reshape([2, 3]) / 4;
    assert_eq!(checkpoint.tensors.len(), 14);
    for (name, wanted) in [
        ("float", ramp.shallow_clone()),
        ("half", ramp.to_kind(Kind::Half)),
        ("bfloat16", ramp.to_kind(Kind::BFloat16)),
        ("transposed", ramp.transpose(0, 1)),
        ("parameter", ramp.shallow_clone()),
        ("shared.head", Tensor::from_slice(&[0.0_f64, 1.0, 2.0, 3.0])),
        ("shared.stripes", Tensor::from_slice(&[1.0_f64, 3.0, 4.0, 6.0, 7.0, 9.0]).reshape([3, 2])),
        ("count", Tensor::from(1_i64 << 40)),
        ("int", Tensor::from_slice(&[-3_i32])),
        ("short", Tensor::from_slice(&[-3_i16])),
        ("char", Tensor::from_slice(&[-3_i8])),
        ("byte", Tensor::from_slice(&[200_u8])),
        ("bool", Tensor::from_slice(&[true, false])),
        ("empty", Tensor::zeros([0, 3], (Kind::Float, Device::Cpu))),
    ] {
        let found = get(checkpoint, name);
        assert_eq!((found.kind(), found.size()), (wanted.kind(), wanted.size()), "{name}");
        assert_eq!(*found, wanted, "{name}");
    }
}

#[test]
fn both_containers_give_the_same_tensors() {
    for name in ["zip.pth", "legacy.pth", "nested.pth"] {
        let checkpoint = load(fixture(name));
        assert_is_the_example(&checkpoint);
        assert_eq!(checkpoint.manifest.origin.as_deref(), Some("PyTorch"), "{name}");
        assert_eq!(checkpoint.manifest.epoch, if name == "nested.pth" { 7 } else { 0 });
        assert_eq!(checkpoint.manifest.config, "");
        assert_eq!(checkpoint.checksum, load(fixture("zip.pth")).checksum);
    }
}

#[test]
fn the_content_and_not_the_extension_tells_the_kind() {
    let folder = tempfile::tempdir().unwrap();
    for (from, to) in [("zip.pth", "a.safetensors"), ("legacy.pth", "b.ckpt")] {
        fs::copy(fixture(from), folder.path().join(to)).unwrap();
        assert_is_the_example(&load(folder.path().join(to)));
    }
}

#[test]
fn safetensors_files_are_never_taken_for_pickles() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.safetensors");
    let mut like_a_pickle = 0;
    for length in (0..1600).step_by(8) {
        let manifest = Manifest { config: "x".repeat(length), ..Manifest::default() };
        checkpoint::save(&path, &manifest, &[("a".into(), Tensor::from(1.0_f32))]).unwrap();
        like_a_pickle += usize::from(matches!(fs::read(&path).unwrap()[..], [0x80, 0..=5, ..]));
        assert_eq!(load(&path).manifest, manifest);
    }
    assert!(like_a_pickle > 0);
}

#[test]
fn a_lightning_file_gives_weights_and_configuration() {
    let checkpoint = load(fixture("lightning.ckpt"));
    let names: Vec<&str> = checkpoint.tensors.iter().map(|(name, _)| name.as_str()).collect();
    let norm = ["1.bias", "1.num_batches_tracked", "1.running_mean", "1.running_var", "1.weight"];
    assert_eq!(names, [["0.bias", "0.weight"].as_slice(), &norm].concat());
    assert_eq!(Vec::<f32>::try_from(get(&checkpoint, "0.weight").flatten(0, 1)).unwrap(), [0., 1., 2., 3., 4., 5.]);
    assert_eq!(Vec::<f32>::try_from(get(&checkpoint, "1.running_var")).unwrap(), [50., 51., 52.]);
    assert_eq!(get(&checkpoint, "1.num_batches_tracked").int64_value(&[]), 60);

    assert_eq!(checkpoint.manifest.origin.as_deref(), Some("Lightning 2.6.6"));
    assert_eq!(checkpoint.manifest.epoch, 1);
    let config: serde_json::Value = serde_json::from_str(&checkpoint.manifest.config).unwrap();
    // The module was given only `model`; the file has the rest of the tree as well.
    assert_eq!(config["model"]["model"]["num_classes"], "${data.num_classes}");
    assert_eq!(config["data"]["num_classes"], 3);
    assert_eq!(config["data"]["debug_subset_size"], serde_json::Value::Null);
    assert_eq!(config["split"]["forget_frac"], 0.2);
    assert_eq!(config["split"]["forget_classes"], serde_json::json!([3]));
    assert_eq!(config["model"]["optim"]["betas"], serde_json::json!([0.9, 0.999]));
}

#[test]
fn the_error_of_an_unreadable_file_says_how_to_fix_it() {
    let folder = tempfile::tempdir().unwrap();
    let written = |name: &str, contents: &[u8]| {
        fs::write(folder.path().join(name), contents).unwrap();
        folder.path().join(name)
    };
    let mut tar = vec![0; 512];
    tar[257..262].copy_from_slice(b"ustar");
    for (path, parts) in [
        (fixture("complex.pth"), ["ComplexFloatStorage", "float32"]),
        (fixture("list.pth"), ["a list", "state_dict"]),
        (fixture("module.pth"), ["a whole module", "state_dict"]),
        (fixture("script.pt"), ["TorchScript", "torch.jit.load"]),
        (written("tar.pth", &tar), ["PyTorch 0.1", "torch.save"]),
        (written("plain.pkl", b"\x80\x02}."), ["not one of torch.save", "copy"]),
        (written("empty.ckpt", b""), ["not a safetensors file", "copy"]),
        (folder.path().join("absent.ckpt"), ["does not exist", "absent.ckpt"]),
    ] {
        let error = checkpoint::load(&path).err().unwrap_or_else(|| panic!("{} was read", path.display()));
        assert_eq!(error.kind(), ErrorKind::Missing);
        let file = path.file_name().unwrap().to_str().unwrap();
        for part in [file].iter().chain(&parts) {
            assert!(error.to_string().contains(part), "no {part:?} in: {error}");
        }
    }
}

/// A checkpoint of regun with every field of the manifest set.
fn example_of_ours() -> Checkpoint {
    let from = load(fixture("zip.pth"));
    let manifest = Manifest {
        identity: Facts::default().with("model", "resnet20").with("role", "base"),
        provenance: Facts::default().with("data.batch_size", 64),
        epoch: 3,
        config: "seed: 42\nsplit:\n  forget_frac: 0.2\n  names: [a, 'b: c']\n".into(),
        version: "1".into(),
        origin: None,
    };
    Checkpoint { manifest, ..from }
}

#[test]
fn a_written_file_is_read_back_unchanged() {
    let folder = tempfile::tempdir().unwrap();
    let ours = example_of_ours();
    type Save = fn(&Path, &Checkpoint) -> regun::error::Result<()>;
    for (name, save) in [("a.pt", pytorch::save_state_dict as Save), ("a.ckpt", pytorch::save_lightning)] {
        let path = folder.path().join(name);
        save(&path, &ours).unwrap();
        let back = load(&path);
        assert_is_the_example(&back);
        assert_eq!((back.manifest, back.checksum), (ours.manifest.clone(), ours.checksum.clone()), "{name}");
        let first = fs::read(&path).unwrap();
        save(&path, &ours).unwrap();
        assert_eq!(first, fs::read(&path).unwrap(), "{name}: equal models are equal files");
    }
}

/// Runs a script if Python has torch and torchvision. Otherwise prints that it was skipped and returns `None`.
fn python(script: &str, folder: &Path) -> Option<String> {
    python_with(&["torch", "torchvision"], script, folder)
}

/// Runs a script if Python has these modules. Otherwise prints that it was skipped and returns `None`.
fn python_with(modules: &[&str], script: &str, folder: &Path) -> Option<String> {
    let ours = Path::new(env!("CARGO_MANIFEST_DIR")).join(".venv/bin/python");
    let interpreter = if ours.exists() { ours } else { "python3".into() };
    let run = |script: &str| Command::new(&interpreter).args(["-c", script]).arg(folder).output();
    let all = modules.join(" ");
    match run(&format!(
        "import sys; from importlib.util import find_spec as has; sys.exit(not all(map(has, '{all}'.split())))"
    )) {
        Ok(probe) if probe.status.success() => {}
        _ => {
            eprintln!("not compared with PyTorch: {} lacks one of {all}", interpreter.display());
            return None;
        }
    }
    let output = run(script).unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Some(String::from_utf8(output.stdout).unwrap())
}

#[test]
fn torch_opens_our_files_without_running_code() {
    let folder = tempfile::tempdir().unwrap();
    let network = network("resnet18", Some(Stem::None), 1000);
    let architecture = models::build(&network).unwrap();
    let state = State::init(architecture.layout(), 1, "test", Kind::Float, Device::Cpu).unwrap();
    let tensors: Vec<_> = state.named().map(|(name, tensor)| (name.to_owned(), tensor.shallow_clone())).collect();
    checkpoint::save(&folder.path().join("resnet18.safetensors"), &Manifest::default(), &tensors).unwrap();
    let ours = load(folder.path().join("resnet18.safetensors"));
    pytorch::save_state_dict(&folder.path().join("resnet18.pt"), &ours).unwrap();
    pytorch::save_state_dict(&folder.path().join("types.pt"), &example_of_ours()).unwrap();
    pytorch::save_lightning(&folder.path().join("types.ckpt"), &example_of_ours()).unwrap();
    let script = r#"
import sys, torch, torchvision
from pathlib import Path
folder = Path(sys.argv[1])
network = torchvision.models.resnet18()
weights = torch.load(folder / "resnet18.pt", weights_only=True)
network.load_state_dict(weights, strict=True)
assert network.fc.weight.is_contiguous() and not weights["fc.weight"].requires_grad
assert torch.load(folder / "resnet18.pt", weights_only=True, mmap=True)["bn1.weight"].equal(network.bn1.weight)
types = torch.load(folder / "types.pt", weights_only=True)
assert types["bfloat16"].dtype is torch.bfloat16 and types["bool"].tolist() == [True, False]
assert types["count"].item() == 1 << 40 and types["empty"].shape == (0, 3)
lightning = torch.load(folder / "types.ckpt", weights_only=True)
assert lightning["state_dict"]["model.shared.head"].tolist() == [0, 1, 2, 3] and lightning["epoch"] == 3
assert "hyper_parameters" not in lightning  # the configuration has no section `model`
print(network.fc.weight.double().sum().item(), network.conv1.weight.double().sum().item())
"#;
    let Some(said) = python(script, folder.path()) else { return };
    let sums: Vec<f64> = said.split_whitespace().map(|sum| sum.parse().unwrap()).collect();
    for (name, sum) in ["fc.weight", "conv1.weight"].into_iter().zip(sums) {
        let ours = state.by_name(name).unwrap().sum(Kind::Double).double_value(&[]);
        assert!((ours - sum).abs() < 1e-9, "{name}: {ours}, torch {sum}");
    }
}

#[test]
fn files_of_the_installed_torch_are_read() {
    let folder = tempfile::tempdir().unwrap();
    // Runs the script that made the committed files with the installed torch.
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/make_checkpoints.py");
    let script = fs::read_to_string(script).unwrap()
        + r#"
network = __import__("torchvision").models.resnet18()
network.load_state_dict(network.state_dict())
torch.save(network.half().state_dict(), OUT / "resnet18.pth", _use_new_zipfile_serialization=False)
"#;
    if python(&script, folder.path()).is_none() {
        return;
    }
    for name in ["zip.pth", "legacy.pth", "nested.pth"] {
        assert_is_the_example(&load(folder.path().join(name)));
    }
    let architecture = models::build(&network("resnet18", None, 1000)).unwrap();
    let weights = load(folder.path().join("resnet18.pth"));
    State::from_named(architecture.layout(), weights.tensors, Kind::Float, Device::Cpu).unwrap();
}

/// Files with values of many kinds beside the weights, with the weights under many keys, and with many prefixes.
#[test]
fn files_of_other_programs_are_read_for_their_weights() {
    let folder = tempfile::tempdir().unwrap();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/make_foreign.py");
    if python_with(&["torch", "numpy"], &fs::read_to_string(script).unwrap(), folder.path()).is_none() {
        return;
    }
    let ramp = Tensor::arange(6, (Kind::Float, Device::Cpu)).reshape([2, 3]) / 4;
    let mut read = 0;
    for entry in fs::read_dir(folder.path()).unwrap() {
        let path = entry.unwrap().path();
        let file = path.file_stem().unwrap().to_str().unwrap().to_owned();
        let refusal = || checkpoint::load(&path).err().unwrap_or_else(|| panic!("{file} was read")).to_string();
        let parts: &[&str] = match file.as_str() {
            "unclear_ema" => &["`state_dict` (2 tensors), `state_dict_ema` (2 tensors)", "--weights-key"],
            "unclear_model_ema" => &["`model` (2 tensors), `model_ema` (2 tensors)", "--weights-key"],
            "unclear_two" => &["`student` (2 tensors), `teacher.inner` (2 tensors)", "--weights-key"],
            "refused_module" => &["`net` in the file holds a whole module", "state_dict()"],
            "refused_optimizer" => &["no weights: found a dict of optimizer, epoch"],
            "refused_loads" => &["wants to call pickle.loads", "hostile"],
            _ => {
                let checkpoint = load(&path);
                let names: Vec<&str> = checkpoint.tensors.iter().map(|(name, _)| name.as_str()).collect();
                assert_eq!(names, ["bias", "weight"], "{file}");
                assert_eq!(*get(&checkpoint, "weight"), ramp, "{file}");
                read += 1;
                continue;
            }
        };
        let said = refusal();
        assert!(parts.iter().all(|part| said.contains(part)), "{file}: wanted {parts:?} in: {said}");
    }
    assert!(read > 40, "only {read} files");
    // The user's choice.
    let chosen = |file: &str, key: &str| checkpoint::open(&folder.path().join(file)).unwrap().only(Some(key));
    let weight =
        |file, key| get(&chosen(file, key).unwrap_or_else(|error| panic!("{error}")), "weight").shallow_clone();
    assert_eq!(weight("unclear_ema.pth", "state_dict"), ramp);
    assert_eq!(weight("unclear_ema.pth", "state_dict_ema"), &ramp * 2);
    assert_eq!(weight("unclear_model_ema.pth", "model_ema"), ramp);
    assert_eq!(weight("unclear_two.pth", "teacher.inner"), &ramp * 3);
    assert_eq!(weight("key_net.pth", "net"), ramp);
    let error = chosen("unclear_ema.pth", "ema").err().unwrap().to_string();
    for part in ["--weights-key ema", "`state_dict` (2 tensors), `state_dict_ema` (2 tensors)", "joined by points"] {
        assert!(error.contains(part), "{error}");
    }
}

/// Lightning makes the module of a `.ckpt` of ours without help, and its own file comes back with its configuration.
/// Objects of omegaconf need `weights_only=False` (or omegaconf's names among torch's safe ones), in its own files too.
#[test]
fn lightning_loads_the_module_of_our_file() {
    let folder = tempfile::tempdir().unwrap();
    let ours = load(fixture("lightning.ckpt"));
    let config = "seed: 42\ndata: {name: digits, num_classes: 3}\nmodel:\n  \
                  model: {name: small, num_classes: 3, stem: null}\n  \
                  optim: {lr: 0.1, betas: [0.9, 0.999], nesterov: true}\n  scheduler: {}\n\
                  split: {names: [[a], {b: 1}]}\n";
    let manifest = Manifest { config: config.into(), epoch: 3, ..Manifest::default() };
    let ours = Checkpoint { manifest, ..ours };
    pytorch::save_lightning(&folder.path().join("ours.ckpt"), &ours).unwrap();
    let script = r#"
import collections, sys, typing, torch, lightning, omegaconf
from pathlib import Path
folder = Path(sys.argv[1])
class Module(lightning.LightningModule):
    def __init__(self, cfg):
        super().__init__()
        self.save_hyperparameters()
        assert cfg.optim.lr == 0.1 and cfg.optim.betas[1] == 0.999 and cfg.optim.nesterov is True
        assert cfg.model.stem is None
        self.model = torch.nn.Sequential(torch.nn.Linear(2, cfg.model.num_classes), torch.nn.BatchNorm1d(3))
module = Module.load_from_checkpoint(folder / "ours.ckpt", weights_only=False)
assert module.model[0].weight.flatten().tolist() == [0, 1, 2, 3, 4, 5], module.model[0].weight
cfg = module.hparams.cfg
assert isinstance(cfg, omegaconf.DictConfig) and isinstance(cfg.optim.betas, omegaconf.ListConfig)
made = omegaconf.OmegaConf.create({
    "seed": 42, "data": {"name": "digits", "num_classes": 3},
    "model": {"model": {"name": "small", "num_classes": 3, "stem": None},
              "optim": {"lr": 0.1, "betas": [0.9, 0.999], "nesterov": True}, "scheduler": {}},
    "split": {"names": [["a"], {"b": 1}]},
})
def state(node):  # of a node and of all below, as omegaconf itself keeps it
    inner = node._content if hasattr(node, "_content") else node._val
    below = inner.items() if isinstance(inner, dict) else enumerate(inner) if isinstance(inner, list) else ()
    below = {key: state(value) for key, value in below}
    return type(node), sorted(node.__dict__), node._metadata, below or inner
assert state(cfg) == state(made.model), "a section"
assert state(cfg._get_parent()) == state(made), "the whole configuration"
assert cfg._get_parent()._get_node("model") is cfg and cfg == made.model
cfg.optim.lr = 0.2
names = [omegaconf.DictConfig, omegaconf.ListConfig, omegaconf.AnyNode, omegaconf.base.ContainerMetadata,
         omegaconf.base.Metadata, typing.Any, collections.defaultdict, dict, list, int]
with torch.serialization.safe_globals(names):
    assert Module.load_from_checkpoint(folder / "ours.ckpt", weights_only=True).hparams.cfg.optim.lr == 0.1
trainer = lightning.Trainer(max_epochs=0, accelerator="cpu", logger=False, enable_checkpointing=False)
trainer.strategy.connect(module)
trainer.save_checkpoint(folder / "theirs.ckpt")
"#;
    if python_with(&["lightning", "omegaconf"], script, folder.path()).is_none() {
        return;
    }
    let theirs = load(folder.path().join("theirs.ckpt"));
    assert_eq!(theirs.checksum, ours.checksum);
    let config: serde_json::Value = serde_json::from_str(&theirs.manifest.config).unwrap();
    assert_eq!((&config["seed"], &config["model"]["optim"]["lr"]), (&42.into(), &0.2.into()));
    assert_eq!(config["split"]["names"], serde_json::json!([["a"], { "b": 1 }]));
}

fn network(name: &str, stem: Option<Stem>, num_classes: i64) -> ModelConfig {
    ModelConfig { pretrained: true, stem, ..ModelConfig::plain(name, num_classes) }
}

#[test]
fn pretrained_weights_give_all_but_the_head_and_another_stem() {
    let folder = tempfile::tempdir().unwrap();
    let state_of = |model: &ModelConfig, seed| {
        let architecture = models::build(model).unwrap();
        let state = State::init(architecture.layout(), seed, "test", Kind::Float, Device::Cpu).unwrap();
        (architecture, state)
    };
    let (_, imagenet) = state_of(&network("resnet18", None, 1000), 1);
    // Like torchvision's oldest files, without BatchNorm's `num_batches_tracked`.
    let tensors = imagenet.named().filter(|(name, _)| !name.ends_with("num_batches_tracked"));
    let tensors: Vec<_> = tensors.map(|(name, tensor)| (name.to_owned(), tensor.shallow_clone())).collect();
    let path = folder.path().join("imagenet.safetensors");
    checkpoint::save(&path, &Manifest::default(), &tensors).unwrap();

    let started = |model: &ModelConfig| {
        let model = ModelConfig { pretrained_path: Some(path.clone()), ..model.clone() };
        let (architecture, fresh) = state_of(&model, 2);
        let file = pretrained::weights_file(&model, folder.path(), None, &World::solo()).unwrap();
        let weights = checkpoint::load(&file).unwrap();
        let state = pretrained::initial_state(&model, &*architecture, &weights, &fresh, Kind::Float, Device::Cpu);
        state.map(|state| (state, fresh))
    };
    let fresh_names = |model: &ModelConfig| {
        let (state, fresh) = started(model).unwrap();
        let is_fresh = |(name, tensor): &(&str, &Tensor)| {
            name.ends_with(".weight")
                && *tensor != imagenet.by_name(name).unwrap()
                && *tensor == fresh.by_name(name).unwrap()
        };
        state.named().filter(is_fresh).map(|(name, _)| name.to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(fresh_names(&network("resnet18", None, 1000)), [""; 0]);
    assert_eq!(fresh_names(&network("resnet18", Some(Stem::None), 10)), ["fc.weight"]);
    assert_eq!(fresh_names(&network("resnet18", Some(Stem::Cifar), 10)), ["conv1.weight", "fc.weight"]);
    assert_eq!(fresh_names(&network("resnet18", Some(Stem::TinyImagenet), 1000)), ["conv1.weight"]);

    let error = started(&network("resnet34", None, 10)).unwrap_err();
    for part in ["imagenet.safetensors", "missing: layer1.2.conv1.weight", "model.model.name"] {
        assert!(error.to_string().contains(part), "{error}");
    }
}

#[test]
fn a_misspelt_tensor_name_is_shown_with_the_right_one() {
    let architecture = models::build(&network("resnet20", None, 10)).unwrap();
    let state = State::init(architecture.layout(), 1, "test", Kind::Float, Device::Cpu).unwrap();
    let first = architecture.layout().specs()[0].name.clone();
    let misspelt = first.replace("weight", "weigth");
    let renamed = state.named().map(|(name, tensor)| {
        let name = if name == first { misspelt.clone() } else { name.to_owned() };
        (name, tensor.shallow_clone())
    });
    let error = State::from_named(architecture.layout(), renamed, Kind::Float, Device::Cpu).unwrap_err();
    for part in [format!("1 missing: {first}"), format!("1 unexpected: {misspelt} (did you mean {first}?)")] {
        assert!(error.message().contains(&part), "{error}");
    }
}
