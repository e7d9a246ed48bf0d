//! Exchanges weights with torchvision in both directions: the names and the logits must be the same.
//!
//! Needs a Python with torchvision, `.venv/bin/python` or `python3`. Without one the test counts as ignored.

mod harness;

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use regun::checkpoint::{self, Manifest};
use regun::config::{Request, load};
use regun::models::{Architecture, Forward, REGISTRY, State, build};
use tch::{Device, Kind, Tensor, no_grad};

const SIDE: i64 = 64;
/// Networks that torchvision does not have, or that are too large for a quick test.
const LEFT_OUT: [&str; 3] = ["resnet20", "vit_l_16", "vit_l_32"];

fn python_with_torchvision() -> Option<PathBuf> {
    let pythons = [concat!(env!("CARGO_MANIFEST_DIR"), "/.venv/bin/python"), "python3"];
    let knows = |python: &&str| {
        let run = Command::new(python).args(["-c", "import torchvision"]).stderr(Stdio::null()).status();
        run.is_ok_and(|status| status.success())
    };
    pythons.into_iter().find(knows).map(PathBuf::from)
}

fn network(name: &str) -> Box<dyn Architecture> {
    let config = load(&Request::default()).unwrap().config;
    let image_size = Some(SIDE);
    build(&regun::config::schema::ModelConfig { name: name.to_owned(), stem: None, image_size, ..config.model.model })
        .unwrap()
}

fn logits(architecture: &dyn Architecture, state: &State, images: &Tensor) -> Tensor {
    no_grad(|| architecture.forward(&mut Forward::eval(state), images)).unwrap()
}

#[track_caller]
fn assert_near(got: &Tensor, wanted: &Tensor, what: &str) {
    let distance = (got - wanted).abs().max().double_value(&[]);
    let spread = wanted.std(true).double_value(&[]);
    let enough = spread > 1e-2 && distance < 1e-4 * spread.max(1.0);
    assert!(enough, "{what}: off by {distance}, of logits with a spread of {spread}");
}

/// Initial weights plus noise, so that no tensor is zero. ViT's head starts at zero.
fn weights(architecture: &dyn Architecture) -> State {
    let state = State::init(architecture.layout(), 5, "test", Kind::Float, Device::Cpu).unwrap();
    for (.., tensor) in state.parameters() {
        let _ = no_grad(|| tensor.shallow_clone().g_add_(&(tensor.randn_like() * 0.01)));
    }
    state
}

fn exchange(peer: &mut (impl Write, impl BufRead), name: &str, folder: &Path) {
    let architecture = network(name);
    let images = Tensor::randn([2, 3, SIDE, SIDE], (Kind::Float, Device::Cpu));
    let ours = weights(&*architecture);
    let mut tensors: Vec<(String, Tensor)> =
        ours.named().map(|(name, tensor)| (name.to_owned(), tensor.shallow_clone())).collect();
    tensors.push(("images".into(), images.shallow_clone()));
    let path = folder.join(format!("{name}.safetensors"));
    checkpoint::save(&path, &Manifest::default(), &tensors).unwrap();

    writeln!(peer.0, "{name} {SIDE} {}", path.display()).unwrap();
    let mut line = String::new();
    peer.1.read_line(&mut line).unwrap();
    assert_eq!(line, "done\n", "{name}: torchvision's side failed; its message is above");

    let answer_path = folder.join(format!("{name}.safetensors.answer"));
    let mut answer = Tensor::read_safetensors(&answer_path).unwrap();
    let mut take = |wanted: &str| {
        let at = answer.iter().position(|(name, _)| name == wanted).unwrap();
        answer.swap_remove(at).1
    };
    let (of_ours, of_theirs) = (take("logits"), take("other_logits"));
    assert_near(&logits(&*architecture, &ours, &images), &of_ours, &format!("{name}: our weights"));
    let theirs = State::from_named(architecture.layout(), answer, Kind::Float, Device::Cpu).unwrap();
    assert_near(&logits(&*architecture, &theirs, &images), &of_theirs, &format!("{name}: torchvision's weights"));
    std::fs::remove_file(path).unwrap();
    std::fs::remove_file(answer_path).unwrap();
}

fn main() {
    let found = python_with_torchvision().map(drop).ok_or("neither .venv/bin/python nor python3 knows torchvision");
    let found = found.map_err(String::from);
    harness::main(tests![weights_go_to_torchvision_and_back].map(|test| test.needs(&found)));
}

fn weights_go_to_torchvision_and_back() {
    let python = python_with_torchvision().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/torchvision/peer.py");
    let mut child = Command::new(python).arg(script).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut peer = (child.stdin.take().unwrap(), BufReader::new(child.stdout.take().unwrap()));
    let names = REGISTRY.iter().map(|info| info.name).filter(|name| !LEFT_OUT.contains(name));
    for name in names {
        exchange(&mut peer, name, folder.path());
    }
    drop(peer);
    assert!(child.wait().unwrap().success());
}
