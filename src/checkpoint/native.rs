//! The program's own files: safetensors with one entry of metadata, `regun`, that holds the manifest and a checksum.

use std::collections::HashMap;
use std::path::Path;

use safetensors::tensor::SafeTensors;
use serde::{Deserialize, Serialize};
use tch::Tensor;

use super::bytes::{TensorBytes, checksum, kind_of};
use super::errors::unreadable;
use super::loaded::Checkpoint;
use super::manifest::Manifest;
use crate::error::{Error, ErrorKind, Result};
use crate::files::write_atomic;

/// The only entry of the file's metadata. There is one only because safetensors writes several entries in an order that
/// changes from run to run, and equal models shall be equal files.
const METADATA_KEY: &str = "regun";

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

/// Reads a file that [`save`] wrote and checks its tensors against the checksum.
///
/// # Errors
/// Of kind [`ErrorKind::Missing`]: not a safetensors file, no manifest of regun in it, or another checksum.
pub fn load(path: &Path) -> Result<Checkpoint> {
    let contents = std::fs::read(path).map_err(|error| unreadable(path, &error))?;
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
