//! Safetensors files. The program's own have one entry of metadata, `regun`, that holds the manifest and a checksum.

use std::collections::HashMap;
use std::path::Path;

use safetensors::tensor::SafeTensors;
use serde::{Deserialize, Serialize};
use tch::Tensor;

use super::bytes::{TensorBytes, checksum, kind_of};
use super::errors::{printable, unreadable};
use super::file::CheckpointFile;
use super::loaded::Checkpoint;
use super::manifest::Manifest;
use super::weights_dict::WeightsDict;
use crate::error::{Error, ErrorKind, Result};
use crate::files::write_atomic;

/// The only entry of the file's metadata. There is one only because safetensors writes several entries in an order that
/// changes from run to run, and equal models shall be equal files.
const METADATA_KEY: &str = "regun";

/// The origin of a file without that entry.
const OTHER_PROGRAM: &str = "another program";
/// The start of the small text that stands for a large file in a clone without Git LFS.
const LFS_POINTER: &[u8] = b"version https://git-lfs.github.com/spec/";

/// The content of that entry, stored as JSON.
#[derive(Serialize, Deserialize)]
struct Metadata<S, M> {
    checksum: S,
    manifest: M,
}

/// Writes a checkpoint atomically. Returns its checksum.
pub fn save(path: &Path, manifest: &Manifest, tensors: &[(String, Tensor)]) -> Result<String> {
    let tensors = tensors
        .iter()
        .map(|(name, tensor)| Ok((name.clone(), TensorBytes::of(tensor)?)))
        .collect::<Result<Vec<_>>>()?;
    let checksum =
        checksum(tensors.iter().map(|(name, bytes)| (name.as_str(), bytes.dtype, &*bytes.shape, &*bytes.data)));
    let metadata = serde_json::to_string(&Metadata { checksum: &checksum, manifest })
        .map_err(|error| Error::new(ErrorKind::Bug, format!("manifest of {}: {error}", path.display())))?;
    let metadata = HashMap::from([(METADATA_KEY.to_owned(), metadata)]);
    let contents = safetensors::serialize(tensors, Some(metadata))
        .map_err(|error| Error::new(ErrorKind::Bug, format!("cannot encode {}: {error}", path.display())))?;
    write_atomic(path, &contents)?;
    Ok(checksum)
}

/// Reads a safetensors file: one that [`save`] wrote, whose tensors are checked against the checksum, or one of another
/// program, which has names and tensors alone.
///
/// # Errors
/// Of kind [`ErrorKind::Missing`]: not a safetensors file, or another checksum.
pub fn open(path: &Path) -> Result<CheckpointFile> {
    let contents = std::fs::read(path).map_err(|error| unreadable(path, &error))?;
    if contents.starts_with(LFS_POINTER) {
        return Err(Error::missing(format!("checkpoint {} is a pointer of Git LFS, not the file", path.display()))
            .hint("fetch the file itself with `git lfs pull`"));
    }
    let broken = |why: String| {
        Error::missing(format!("checkpoint {} is damaged or not a safetensors file: {why}", path.display()))
            .hint("train it again, or restore the file from a copy")
    };
    let (_, header) = SafeTensors::read_metadata(&contents).map_err(|error| broken(error.to_string()))?;
    let file = SafeTensors::deserialize(&contents).map_err(|error| broken(error.to_string()))?;
    let mut views = file.tensors();
    views.sort_by(|a, b| a.0.cmp(&b.0));
    let metadata = header.metadata().as_ref();
    let ours = metadata.and_then(|metadata| metadata.get(METADATA_KEY));
    let parse = |text: &String| serde_json::from_str::<Metadata<String, Manifest>>(text);
    // A file of ours with a damaged name of its entry must not pass as a file of another program.
    if ours.is_none() && metadata.is_some_and(|metadata| metadata.values().any(|text| parse(text).is_ok())) {
        return Err(broken(format!("the metadata of this program do not have the name `{METADATA_KEY}`")));
    }
    let (manifest, checksum) = match ours {
        Some(text) => {
            let Metadata { checksum: wanted, manifest } = parse(text).map_err(|error| broken(error.to_string()))?;
            let views = views.iter();
            let found =
                self::checksum(views.map(|(name, view)| (name.as_str(), view.dtype(), view.shape(), view.data())));
            if found != wanted {
                return Err(broken(format!("checksum of the tensors is {found}, the file says {wanted}")));
            }
            (manifest, Some(found))
        }
        None => (Manifest { origin: Some(OTHER_PROGRAM.into()), ..Manifest::default() }, None),
    };
    let mut dict = WeightsDict { path: String::new(), tensors: Vec::new(), preferred: true, fault: None };
    for (name, view) in &views {
        let Some(kind) = kind_of(view.dtype()) else {
            let fault = format!("tensor {} has the unsupported dtype {:?}", printable(name), view.dtype());
            dict.fault.get_or_insert(
                Error::missing(fault).hint("save the weights as float32 (or float64, float16, bfloat16)"),
            );
            continue;
        };
        let shape: Vec<i64> = view.shape().iter().map(|&side| side as i64).collect();
        dict.tensors.push((name.clone(), Tensor::f_from_data_size(view.data(), &shape, kind)?));
    }
    if dict.tensors.is_empty() && dict.fault.is_none() && ours.is_none() {
        return Err(broken("it has no tensors".into()));
    }
    Ok(CheckpointFile { path: path.to_owned(), manifest, dicts: vec![dict], checksum })
}

/// Reads a file that [`save`] wrote.
///
/// # Errors
/// The errors of [`open`].
pub fn load(path: &Path) -> Result<Checkpoint> {
    open(path)?.only(None)
}

#[cfg(test)]
mod tests {
    use tch::{Kind, Tensor};

    use super::super::facts::Facts;
    use super::*;

    fn example() -> (Manifest, Vec<(String, Tensor)>) {
        let identity = Facts::default().with("model", "resnet20").with("classes", 10);
        let manifest = Manifest { identity, epoch: 3, ..Manifest::default() };
        let conv = Tensor::arange(24, (Kind::Float, tch::Device::Cpu)).view([2, 3, 2, 2]);
        let conv = crate::torch::to_channels_last(&conv).unwrap();
        (manifest, vec![("conv.weight".into(), conv), ("count".into(), Tensor::from(7i64))])
    }

    #[test]
    fn a_loaded_model_equals_the_saved_one_in_every_memory_layout() {
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
    fn a_flipped_bit_or_a_truncated_file_is_refused() {
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
            assert_eq!(error.kind(), ErrorKind::Missing);
            assert!(error.message().contains("model.safetensors"), "{error}");
        }
    }

    #[test]
    fn a_checkpoint_of_another_identity_is_refused_and_the_differences_are_listed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model.safetensors");
        let (manifest, tensors) = example();
        save(&path, &manifest, &tensors).unwrap();
        let loaded = load(&path).unwrap();
        loaded.check_identity(&Facts::default().with("classes", 10)).unwrap();
        let error =
            loaded.check_identity(&Facts::default().with("classes", 100).with("model", "resnet20")).unwrap_err();
        assert!(error.message().contains("classes: found 10, wanted 100"), "{error}");
        assert!(!error.message().contains("resnet20"), "{error}");
    }
}
