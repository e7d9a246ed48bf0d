//! Checkpoints: a safetensors file that says what it is and where it came from.
//!
//! Tensor names are torchvision's. The metadata holds the *identity* (what must fit before the weights may be used:
//! data, split, architecture, classes, seed, role), the *provenance* (how the model was trained: recorded, compared
//! with a warning), the resolved configuration, and a checksum of the tensors.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use safetensors::tensor::{Dtype, SafeTensors, View};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use tch::{Kind, Tensor};

use crate::digest::hex;
use crate::error::{Error, Result};
use crate::files::write_atomic;
use crate::names;

/// Named facts that can be compared: identity or provenance.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Facts(BTreeMap<String, String>);

impl Facts {
    pub fn with(mut self, name: &str, value: impl ToString) -> Self {
        self.0.insert(name.to_owned(), value.to_string());
        self
    }

    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// Where `self` (found) differs from `wanted`: one line per fact, `name: found X, wanted Y`.
    pub fn differences(&self, wanted: &Facts) -> Vec<String> {
        let names: std::collections::BTreeSet<&String> = self.0.keys().chain(wanted.0.keys()).collect();
        let text = |facts: &Facts, name| facts.get(name).unwrap_or("nothing").to_owned();
        names
            .into_iter()
            .filter(|name| self.0.get(*name) != wanted.0.get(*name))
            .map(|name| format!("{name}: found {}, wanted {}", text(self, name), text(wanted, name)))
            .collect()
    }

    /// Only the facts for which `keep` holds.
    pub fn filtered(&self, keep: impl Fn(&str) -> bool) -> Facts {
        Facts(self.0.iter().filter(|(name, _)| keep(name)).map(|(k, v)| (k.clone(), v.clone())).collect())
    }
}

/// What the metadata of a checkpoint says.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    pub identity: Facts,
    pub provenance: Facts,
    /// Epochs that the weights have seen.
    pub epoch: usize,
    /// Resolved configuration, YAML.
    pub config: String,
    /// Version of the program that wrote the file.
    pub version: String,
}

/// A checkpoint in memory.
pub struct Checkpoint {
    pub manifest: Manifest,
    /// In the order of the architecture's layout when saved, by name when loaded.
    pub tensors: Vec<(String, Tensor)>,
    /// SHA-256 (hex) of names, dtypes, shapes and bytes of the tensors.
    pub checksum: String,
    pub path: PathBuf,
}

/// The only entry of the file's metadata: safetensors writes several in an order that changes from run to run, and equal
/// models are to be equal files.
const METADATA_KEY: &str = "regun";

/// What that entry holds, as JSON.
#[derive(Serialize, Deserialize)]
struct Metadata<S, M> {
    checksum: S,
    manifest: M,
}

/// Writes a checkpoint, whole or not at all. Returns its checksum.
pub fn save(path: &Path, manifest: &Manifest, tensors: &[(String, Tensor)]) -> Result<String> {
    let tensors =
        tensors.iter().map(|(name, tensor)| Ok((name.clone(), Bytes::of(tensor)?))).collect::<Result<Vec<_>>>()?;
    let checksum =
        checksum(tensors.iter().map(|(name, bytes)| (name.as_str(), bytes.dtype, &*bytes.shape, &*bytes.data)));
    let metadata = serde_json::to_string(&Metadata { checksum: &checksum, manifest })
        .map_err(|error| Error::new(crate::error::Kind::Bug, format!("manifest of {}: {error}", path.display())))?;
    let metadata = HashMap::from([(METADATA_KEY.to_owned(), metadata)]);
    let contents = safetensors::serialize(tensors, Some(metadata))
        .map_err(|error| Error::new(crate::error::Kind::Bug, format!("cannot encode {}: {error}", path.display())))?;
    write_atomic(path, &contents)?;
    Ok(checksum)
}

/// Reads and checks a checkpoint; nothing is said yet about whether it fits.
///
/// A file that is missing, no safetensors file, not ours, or whose tensors do not match their checksum is an error of
/// kind [`crate::error::Kind::Missing`].
pub fn load(path: &Path) -> Result<Checkpoint> {
    if path.extension().is_none_or(|extension| extension != names::OURS) {
        return Err(Error::missing(format!(
            "checkpoint {}: only .safetensors files can be read by this version",
            path.display()
        )));
    }
    let contents = std::fs::read(path).map_err(|source| match source.kind() {
        std::io::ErrorKind::NotFound => Error::missing(format!("checkpoint {} does not exist", path.display())),
        _ => Error::missing(format!("checkpoint {} cannot be read: {source}", path.display())),
    })?;
    let broken = |why: String| {
        Error::missing(format!("checkpoint {} is damaged or not a safetensors file: {why}", path.display()))
            .hint("train it again, or restore the file from a copy")
    };
    let (_, header) = SafeTensors::read_metadata(&contents).map_err(|error| broken(error.to_string()))?;
    let metadata = header.metadata().as_ref().and_then(|metadata| metadata.get(METADATA_KEY));
    let metadata = metadata.ok_or_else(|| {
        let path = path.display();
        Error::missing(format!("checkpoint {path} is damaged or not one of regun: no `{METADATA_KEY}` in its metadata"))
            .hint("train it again, or restore the file from a copy")
    })?;
    let Metadata { checksum: wanted, manifest }: Metadata<String, Manifest> =
        serde_json::from_str(metadata).map_err(|error| broken(error.to_string()))?;
    let file = SafeTensors::deserialize(&contents).map_err(|error| broken(error.to_string()))?;
    let mut views = file.tensors();
    views.sort_by(|a, b| a.0.cmp(&b.0));
    let found = checksum(views.iter().map(|(name, view)| (name.as_str(), view.dtype(), view.shape(), view.data())));
    if found != wanted {
        return Err(broken(format!("checksum of the tensors is {found}, the file says {wanted}")));
    }
    let tensors = views
        .iter()
        .map(|(name, view)| {
            let kind = kind_of(view.dtype())
                .ok_or_else(|| broken(format!("tensor {name} has the unsupported dtype {:?}", view.dtype())))?;
            let shape: Vec<i64> = view.shape().iter().map(|&side| side as i64).collect();
            Ok((name.clone(), Tensor::f_from_data_size(view.data(), &shape, kind)?))
        })
        .collect::<Result<Vec<_>>>()?;
    Ok(Checkpoint { manifest, tensors, checksum: found, path: path.to_owned() })
}

impl Checkpoint {
    /// An error unless the identity has all facts of `wanted`; it names those that differ.
    pub fn expect(&self, wanted: &Facts) -> Result<()> {
        let relevant = self.manifest.identity.filtered(|name| wanted.get(name).is_some());
        match relevant.differences(wanted) {
            differences if differences.is_empty() => Ok(()),
            differences => Err(Error::missing(format!(
                "checkpoint {} does not fit this configuration:\n  {}",
                self.path.display(),
                differences.join("\n  ")
            ))
            .hint("use the settings that it was trained with, or train it again with these")),
        }
    }
}

/// SHA-256 (hex) of names, dtypes, shapes and bytes of these tensors, as [`save`] would write it into their file.
pub fn fingerprint<'a>(tensors: impl Iterator<Item = (&'a str, &'a Tensor)>) -> Result<String> {
    let tensors = tensors.map(|(name, tensor)| Ok((name, Bytes::of(tensor)?))).collect::<Result<Vec<_>>>()?;
    Ok(checksum(tensors.iter().map(|(name, bytes)| (*name, bytes.dtype, &*bytes.shape, &*bytes.data))))
}

/// What `decode` makes of the tensors of a cache file whose identity is `key`.
///
/// `None` where there is no such file or where it is of something else; a damaged one is named, set aside and forgotten.
pub fn read_cache<T>(path: &Path, key: &Facts, decode: impl FnOnce(&[(String, Tensor)]) -> Result<T>) -> Option<T> {
    if !path.exists() {
        return None;
    }
    let read = || -> Result<Option<T>> {
        let file = load(path)?;
        let differences = file.manifest.identity.differences(key);
        if !differences.is_empty() {
            let path = path.display();
            tracing::info!("cache {path} is of other settings and is made again:\n  {}", differences.join("\n  "));
            return Ok(None);
        }
        decode(&file.tensors).map(Some)
    };
    read().unwrap_or_else(|error| {
        let aside = path.with_extension("corrupt");
        tracing::warn!("{}; set aside as {} and made again", error.message(), aside.display());
        if let Err(error) = std::fs::rename(path, &aside) {
            tracing::warn!("cannot rename {}: {error}", path.display());
        }
        None
    })
}

/// Writes a cache file. A failure is a warning: the next run makes its contents again.
pub fn write_cache(path: &Path, key: &Facts, tensors: &[(String, Tensor)]) {
    let manifest = Manifest { identity: key.clone(), ..Manifest::default() };
    if let Err(error) = save(path, &manifest, tensors) {
        tracing::warn!("the cache is not kept: {}", error.message());
    }
}

/// Hash over the tensors, in the order of their names.
fn checksum<'a>(tensors: impl Iterator<Item = (&'a str, Dtype, &'a [usize], &'a [u8])>) -> String {
    let mut sorted: Vec<_> = tensors.collect();
    sorted.sort_by_key(|(name, ..)| *name);
    let mut hash = Sha256::new();
    for (name, dtype, shape, data) in sorted {
        hash.update(format!("{name}:{dtype:?}:{shape:?}:"));
        hash.update(data);
    }
    hex(&hash.finalize())
}

/// A tensor's row-major bytes, as safetensors wants them.
struct Bytes {
    dtype: Dtype,
    shape: Vec<usize>,
    data: Vec<u8>,
}

impl Bytes {
    fn of(tensor: &Tensor) -> Result<Self> {
        let tensor = tensor.detach().to_device(tch::Device::Cpu).contiguous();
        let dtype = dtype_of(tensor.kind()).ok_or_else(|| {
            Error::new(crate::error::Kind::Bug, format!("a tensor of kind {:?} cannot be saved", tensor.kind()))
        })?;
        let mut data = vec![0; tensor.numel() * tensor.kind().elt_size_in_bytes()];
        tensor.f_copy_data_u8(&mut data, tensor.numel())?;
        Ok(Bytes { dtype, shape: tensor.size().iter().map(|&side| side as usize).collect(), data })
    }
}

impl View for Bytes {
    fn dtype(&self) -> Dtype {
        self.dtype
    }

    fn shape(&self) -> &[usize] {
        &self.shape
    }

    fn data(&self) -> Cow<'_, [u8]> {
        Cow::Borrowed(&self.data)
    }

    fn data_len(&self) -> usize {
        self.data.len()
    }
}

const DTYPES: &[(Kind, Dtype)] = &[
    (Kind::Float, Dtype::F32),
    (Kind::Double, Dtype::F64),
    (Kind::Half, Dtype::F16),
    (Kind::BFloat16, Dtype::BF16),
    (Kind::Int64, Dtype::I64),
];

fn dtype_of(kind: Kind) -> Option<Dtype> {
    DTYPES.iter().find(|(ours, _)| *ours == kind).map(|(_, theirs)| *theirs)
}

fn kind_of(dtype: Dtype) -> Option<Kind> {
    DTYPES.iter().find(|(_, theirs)| *theirs == dtype).map(|(ours, _)| *ours)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example() -> (Manifest, Vec<(String, Tensor)>) {
        let identity = Facts::default().with("model", "resnet20").with("classes", 10);
        let manifest = Manifest { identity, epoch: 3, ..Manifest::default() };
        let conv = Tensor::arange(24, (Kind::Float, tch::Device::Cpu)).view([2, 3, 2, 2]);
        let conv = crate::torch::to_channels_last(&conv).unwrap();
        (manifest, vec![("conv.weight".into(), conv), ("count".into(), Tensor::from(7i64))])
    }

    #[test]
    fn what_is_loaded_equals_what_was_saved_whatever_its_memory_layout() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model.safetensors");
        let (manifest, tensors) = example();
        let checksum = save(&path, &manifest, &tensors).unwrap();
        let loaded = load(&path).unwrap();
        assert_eq!(loaded.manifest, manifest);
        assert_eq!(loaded.checksum, checksum);
        for ((name, saved), (loaded_name, loaded)) in tensors.iter().zip(&loaded.tensors) {
            assert_eq!(name, loaded_name);
            assert_eq!(saved, loaded);
        }
    }

    #[test]
    fn equal_models_are_equal_files() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model.safetensors");
        let (manifest, tensors) = example();
        let files = (0..8).map(|_| {
            save(&path, &manifest, &tensors).unwrap();
            std::fs::read(&path).unwrap()
        });
        assert_eq!(files.collect::<std::collections::HashSet<_>>().len(), 1);
    }

    #[test]
    fn one_flipped_bit_or_a_missing_tail_is_noticed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model.safetensors");
        let (manifest, tensors) = example();
        save(&path, &manifest, &tensors).unwrap();
        let good = std::fs::read(&path).unwrap();
        let mut flipped = good.clone();
        *flipped.last_mut().unwrap() ^= 1;
        for bad in [flipped.as_slice(), &good[..good.len() - 5], &good[..9], b"", b"not a checkpoint at all"] {
            std::fs::write(&path, bad).unwrap();
            let error = load(&path).err().expect("a damaged file must not load");
            assert_eq!(error.kind(), crate::error::Kind::Missing);
            assert!(error.message().contains("model.safetensors"), "{error}");
        }
    }

    #[test]
    fn a_checkpoint_of_another_identity_is_refused_with_what_differs() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model.safetensors");
        let (manifest, tensors) = example();
        save(&path, &manifest, &tensors).unwrap();
        let loaded = load(&path).unwrap();
        loaded.expect(&Facts::default().with("classes", 10)).unwrap();
        let error = loaded.expect(&Facts::default().with("classes", 100).with("model", "resnet20")).unwrap_err();
        assert!(error.message().contains("classes: found 10, wanted 100"), "{error}");
        assert!(!error.message().contains("resnet20"), "{error}");
    }
}
