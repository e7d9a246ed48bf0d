//! Trained models for the tests of a binary: two references, base, retrained. They are trained once and copied for each
//! test.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use super::common::Workspace;

/// A setup that trains within seconds, with several steps an epoch and a partial last batch.
pub const SETUP: &str = "data=digits model=resnet20 data.debug_subset_size=300 data.batch_size=32 \
    split.forget_frac=0.2 split.retain_frac=0.7 mul_eval.mia_num_models=2 \
    trainer.max_epochs=1 trainer.threads=1 trainer.precision=32";

/// The base model of [`SETUP`], as a path below the workspace.
pub const BASE: &str = "cache/models/resnet20_digits_random_forget0.2_42.safetensors";
/// The retrained model of [`SETUP`], as a path below the workspace.
pub const RETRAINED: &str = "cache/models/resnet20_digits_random_forget0.2_retrained_42.safetensors";
/// The first reference model of [`SETUP`], as a path below the workspace.
pub const REFERENCE_1: &str = "cache/models/resnet20_digits_random_forget0.2_retrained_42-001.safetensors";

/// The files below a folder: relative path and contents.
pub type Files = BTreeMap<PathBuf, Vec<u8>>;

/// A new workspace with the models, the evaluation cache, and the run folders `run_1`, `run_2`, `run_base`.
pub fn trained() -> Workspace {
    static FILES: OnceLock<Files> = OnceLock::new();
    let files = FILES.get_or_init(|| {
        let workspace = Workspace::new();
        for index in 1..=2 {
            let run = format!("reference --run-idx {index} {SETUP} hydra.run.dir=run_{index}");
            workspace.regun(&run).succeeds();
        }
        workspace.regun(&format!("base {SETUP} hydra.run.dir=run_base")).succeeds();
        files_in(&workspace.path(""))
    });
    let workspace = Workspace::new();
    for (path, contents) in files {
        let path = workspace.path("").join(path);
        fs::create_dir_all(path.parent().expect("a file is in a folder")).expect("a folder");
        fs::write(&path, contents).expect("a file");
    }
    workspace
}

/// Reads all files below `folder`; paths are relative to it.
pub fn files_in(folder: &Path) -> Files {
    let mut files = Files::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(&next).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let relative = path.strip_prefix(folder).expect("below the folder").to_owned();
                files.insert(relative, fs::read(&path).expect("a file"));
            }
        }
    }
    files
}
