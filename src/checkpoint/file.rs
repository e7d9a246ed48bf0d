//! A model file that has been read, before its weights are chosen. A file of another program may hold several dicts of
//! tensors; the architecture of a run, or the user, tells which of them are the weights.

use std::path::PathBuf;

use tch::Tensor;

use super::bytes::fingerprint;
use super::fit::{Choice, Place, best_places, fitted, without_wrappers};
use super::loaded::Checkpoint;
use super::manifest::Manifest;
use super::weights_dict::{WantedTensor, WeightsDict};
use crate::error::{Error, Result};

/// Maximum number of dicts that an error lists.
const CHOICES_SHOWN: usize = 8;

/// The content of a model file.
pub struct CheckpointFile {
    pub path: PathBuf,
    pub manifest: Manifest,
    /// At least one.
    pub dicts: Vec<WeightsDict>,
    /// The checksum that was checked; `None` if the file has none.
    pub checksum: Option<String>,
}

impl CheckpointFile {
    /// The weights without knowledge of the architecture: the only dict that can be weights, or the one that `key`
    /// names (see [`CheckpointFile::fit`]). Prefixes that wrappers add to all names are removed.
    ///
    /// # Errors
    /// Of kind `Missing`: there are several such dicts, or none that `key` names; the message lists them.
    pub fn only(self, key: Option<&str>) -> Result<Checkpoint> {
        let choices = self.choices(key)?;
        match choices.as_slice() {
            [(index, prefix)] => {
                let tensors = without_wrappers(&self.dicts[*index].tensors, prefix);
                self.checkpoint(*index, tensors)
            }
            several => Err(self.unclear(several)),
        }
    }

    /// The weights of an architecture with these tensors. A file of this program has one dict, which is taken as it is.
    /// In a file of another program it is the dict that has most of the tensors, below the prefix that wrappers have
    /// added to their names. `key` limits the search to the dict of this path, or to the names of a dict below a
    /// prefix: `state_dict.ema_model`. Entries that are no weights of a network are left out, with a line in the log.
    ///
    /// # Errors
    /// Of kind `Missing`: several dicts or prefixes fit equally well, or none has the path `key`; the message lists
    /// them.
    pub fn fit(self, key: Option<&str>, wanted: &[WantedTensor<'_>]) -> Result<Checkpoint> {
        if self.manifest.origin.is_none() {
            return self.only(None);
        }
        let choices = self.choices(key)?;
        let places: Vec<Place> = best_places(&self.dicts, &choices, wanted);
        match places.as_slice() {
            [] if choices.len() == 1 => self.only(key),
            [] => Err(self.unclear(&choices)),
            [place] => {
                let (tensors, left_out) = fitted(&self.dicts[place.dict].tensors, place, wanted);
                if !left_out.is_empty() {
                    let path = self.path.display();
                    tracing::info!("checkpoint {path}: left out, because no weights of this network: {left_out}");
                }
                self.checkpoint(place.dict, tensors)
            }
            several => {
                let several: Vec<Choice> = several.iter().map(|place| (place.dict, place.prefix.clone())).collect();
                Err(self.unclear(&several))
            }
        }
    }

    /// The number of tensors of an architecture that are in the file, below the same prefix.
    pub fn num_matching(&self, key: Option<&str>, wanted: &[WantedTensor<'_>]) -> usize {
        let choices = self.choices(key).unwrap_or_default();
        best_places(&self.dicts, &choices, wanted).first().map_or(0, |place| place.names)
    }

    /// True if `key` names a dict in the file, or a prefix in one.
    pub fn has_key(&self, key: &str) -> bool {
        self.choices(Some(key)).is_ok()
    }

    /// The dicts to choose from: each with the prefix of its names below which the weights are.
    fn choices(&self, key: Option<&str>) -> Result<Vec<Choice>> {
        let Some(key) = key.filter(|_| self.manifest.origin.is_some()) else {
            let preferred = self.dicts.iter().enumerate().filter(|(_, dict)| dict.preferred);
            return Ok(preferred.map(|(index, _)| (index, String::new())).collect());
        };
        let prefix_of = |dict: &WeightsDict| -> Option<String> {
            if dict.path == key {
                return Some(String::new());
            }
            let rest = if dict.path.is_empty() { Some(key) } else { key.strip_prefix(&*dict.path)?.strip_prefix('.') };
            let prefix = format!("{}.", rest?);
            dict.tensors.iter().any(|(name, _)| name.starts_with(&prefix)).then_some(prefix)
        };
        let found = self.dicts.iter().enumerate().find_map(|(index, dict)| Some((index, prefix_of(dict)?)));
        match found {
            Some(choice) => Ok(vec![choice]),
            None => {
                let known: Vec<Choice> = (0..self.dicts.len()).map(|index| (index, String::new())).collect();
                Err(Error::missing(format!(
                    "checkpoint {} has no weights under --weights-key {key}; its dicts of tensors are {}",
                    self.path.display(),
                    self.listed(&known)
                ))
                .hint("give the keys that lead to the dict, joined by points"))
            }
        }
    }

    fn checkpoint(self, dict: usize, mut tensors: Vec<(String, Tensor)>) -> Result<Checkpoint> {
        if let Some(fault) = &self.dicts[dict].fault {
            return Err(fault.clone().context(format!("checkpoint {}", self.path.display())));
        }
        tensors.sort_by(|a, b| a.0.cmp(&b.0));
        let checksum = match self.checksum {
            Some(checksum) => checksum,
            None => fingerprint(tensors.iter().map(|(name, tensor)| (name.as_str(), tensor)))?,
        };
        Ok(Checkpoint { manifest: self.manifest, tensors, checksum, path: self.path })
    }

    fn unclear(&self, choices: &[Choice]) -> Error {
        let path = self.path.display();
        Error::missing(format!("checkpoint {path} has several dicts that can be the weights: {}", self.listed(choices)))
            .hint("choose one with --weights-key KEY")
    }

    /// "`net` (12 tensors), `ema` (12 tensors)".
    fn listed(&self, choices: &[Choice]) -> String {
        let mut listed = Vec::new();
        for (index, prefix) in choices.iter().take(CHOICES_SHOWN) {
            let WeightsDict { path, tensors, .. } = &self.dicts[*index];
            let count = tensors.iter().filter(|(name, _)| name.starts_with(&**prefix)).count();
            let parts = [path.as_str(), prefix.trim_end_matches('.')];
            let key = parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(".");
            let key = if key.is_empty() { "the file itself".into() } else { format!("`{key}`") };
            listed.push(format!("{key} ({count} tensors)"));
        }
        let more = if choices.len() > CHOICES_SHOWN { ", ..." } else { "" };
        listed.join(", ") + more
    }
}
