//! Names of checkpoint and cache files. They equal those of the Python program, so each program finds the files of the
//! other.
//!
//! Neither the split seed nor the forgotten classes are part of a name; the identity inside a file says which model it
//! holds. The two programs differ in the extension and in the spelling of the forget fraction, so [`candidates`] lists
//! all combinations.

use std::path::{Path, PathBuf};

use crate::config::schema::Config;
use crate::hydra::float_text;

/// Extension of this program's checkpoints and caches.
pub const SAFETENSORS: &str = "safetensors";
/// Extension of the Python program's checkpoints, which PyTorch Lightning writes.
pub const LIGHTNING: &str = "ckpt";

/// The settings that make up file names.
#[derive(Debug, Clone)]
pub struct Names {
    pub cache_dir: PathBuf,
    pub model: String,
    pub dataset: String,
    pub scheme: String,
    pub forget_frac: f64,
    pub seed: u64,
}

impl Names {
    /// Takes the settings from a configuration.
    pub fn of(config: &Config) -> Self {
        Names {
            cache_dir: config.paths.cache_dir.clone(),
            model: config.model.model.name.clone(),
            dataset: config.data.name.name().to_owned(),
            scheme: config.split.scheme.name().to_owned(),
            forget_frac: config.split.forget_frac,
            seed: config.seed,
        }
    }

    /// Path of the base model, trained on retain and forget.
    pub fn base(&self, extension: &str) -> PathBuf {
        self.checkpoint("", "", extension)
    }

    /// The file to read first for a model with the configured path `configured`. `role` is [`Names::base`] or
    /// [`Names::retrained`].
    ///
    /// The default path has the extension of the Python program. If `configured` is that default, this program's file
    /// comes first, because it is the newer one if both exist. Any other path is returned unchanged.
    pub fn preferred_path(&self, configured: &Path, role: impl Fn(&Self, &str) -> PathBuf) -> PathBuf {
        let ours = role(self, SAFETENSORS);
        if candidates(configured).contains(&ours) { ours } else { configured.to_owned() }
    }

    /// Path of the retrained model, trained on retain alone.
    pub fn retrained(&self, extension: &str) -> PathBuf {
        self.checkpoint("retrained_", "", extension)
    }

    /// Path of reference model `index`, counted from 1.
    pub fn reference(&self, index: usize, extension: &str) -> PathBuf {
        self.checkpoint("retrained_", &format!("-{index:03}"), extension)
    }

    /// Path of a checkpoint. `kind` precedes the seed in the name, `suffix` follows it.
    fn checkpoint(&self, kind: &str, suffix: &str, extension: &str) -> PathBuf {
        let stem = self.stem(&fraction(self.forget_frac));
        self.cache_dir.join("models").join(format!("{stem}_{kind}{}{suffix}.{extension}", self.seed))
    }

    /// Path of AMUN's adversarial images. `attack` spells the settings of the attack.
    pub fn adversarial_set(&self, attack: &str, extension: &str) -> PathBuf {
        let stem = self.stem(&fraction(self.forget_frac));
        self.cache_dir.join("adv_sets").join(format!("amun_adv_{stem}_seed{}_{attack}.{extension}", self.seed))
    }

    /// The common start of all names. `forget` spells the forget fraction.
    fn stem(&self, forget: &str) -> String {
        format!("{}_{}_{}_forget{forget}", self.model, self.dataset, self.scheme)
    }
}

/// Six decimals without trailing zeros: 0.1, 1, 0.00001.
pub fn fraction(value: f64) -> String {
    let text = format!("{value:.6}");
    text.trim_end_matches('0').trim_end_matches('.').to_string()
}

/// Possible locations of a file configured as `path`, best first: as given, with the other extension (`.ckpt`,
/// `.safetensors`), and both with the other spellings of the forget fraction (`forget1.0`, `forget1`).
pub fn candidates(path: &Path) -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> = Vec::new();
    for spelled in spellings(path) {
        for candidate in [Some(spelled.clone()), other_extension(&spelled)].into_iter().flatten() {
            if !found.contains(&candidate) {
                found.push(candidate);
            }
        }
    }
    found
}

/// Extensions of PyTorch's files, which [`safetensors_path`] replaces.
const PYTORCH: [&str; 3] = [LIGHTNING, "pt", "pth"];

/// The path at which this program keeps a file that is configured as `path`: with the extension `.safetensors` in the
/// place of PyTorch's, or after the name. A dot in the name may belong to a setting (`..._forget0.1_refs`), so no other
/// extension is replaced.
pub fn safetensors_path(path: &Path) -> PathBuf {
    match path.extension() {
        Some(extension) if extension == SAFETENSORS => path.to_owned(),
        Some(extension) if PYTORCH.iter().any(|known| extension == *known) => path.with_extension(SAFETENSORS),
        _ => path.with_added_extension(SAFETENSORS),
    }
}

fn other_extension(path: &Path) -> Option<PathBuf> {
    let extension = path.extension()?;
    if extension == LIGHTNING {
        Some(path.with_extension(SAFETENSORS))
    } else if extension == SAFETENSORS {
        Some(path.with_extension(LIGHTNING))
    } else {
        None
    }
}

/// The path with all spellings of the forget fraction in its name, first as given.
fn spellings(path: &Path) -> Vec<PathBuf> {
    const PREFIX: &str = "_forget";
    let mut spelled = vec![path.to_path_buf()];
    let Some(name) = path.file_name().and_then(|name| name.to_str()) else { return spelled };
    let Some(start) = name.rfind(PREFIX).map(|at| at + PREFIX.len()) else { return spelled };
    let Some(length) = name[start..].find('_') else { return spelled };
    let (before, number, after) = (&name[..start], &name[start..start + length], &name[start + length..]);
    if let Ok(value) = number.parse::<f64>()
        && value.is_finite()
    {
        spelled.push(path.with_file_name(format!("{before}{}{after}", fraction(value))));
        spelled.push(path.with_file_name(format!("{before}{}{after}", float_text(value))));
    }
    spelled
}
