//! Writes the zip container as `torch.save` does. Names and tensors open with `weights_only=True`. A Lightning file has
//! objects of omegaconf, like Lightning's own.
//!
//! One more record holds the manifest. PyTorch ignores it; regun reads it, so that a file converted to `.pt` and back
//! is the same checkpoint.

use std::io::{Cursor, Write};
use std::path::Path;

use serde_json::Value;
use zip::result::ZipResult;
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

use super::omegaconf::write_section;
use super::tensors::storage_of;
use crate::checkpoint::bytes::TensorBytes;
use crate::checkpoint::loaded::Checkpoint;
use crate::checkpoint::manifest::Manifest;
use crate::error::{Error, ErrorKind, Result};
use crate::files::write_atomic;
use crate::hydra::yaml;
use crate::pickle::PickleWriter;

/// The name of the record with the manifest, JSON.
pub const MANIFEST: &str = "regun.json";
/// Version of the container in PyTorch's numbering.
const VERSION: &[u8] = b"3\n";
/// Records begin at multiples of this many bytes, because PyTorch maps them into memory.
const ALIGNMENT: u16 = 64;
/// The version of Lightning that is written into a file. Lightning converts files of older versions; files of this one
/// need no conversion.
const LIGHTNING: &str = "2.0.0";
/// Prefix of all names in a Lightning file: the module's attribute that holds the network.
const PREFIX: &str = "model.";
/// The section of the configuration that the module gets, and its argument.
const SECTION: &str = "model";
const ARGUMENT: &str = "cfg";

/// Writes names and tensors like `torch.save(model.state_dict(), path)`.
pub fn save_state_dict(path: &Path, checkpoint: &Checkpoint) -> Result<()> {
    let tensors = encode(checkpoint)?;
    let mut writer = PickleWriter::default();
    state_dict(&mut writer, "", &tensors);
    save(path, &checkpoint.manifest, &tensors, &writer.finish())
}

/// Writes a Lightning checkpoint for a module that has the network in its attribute `model` and takes the section
/// `model` of the configuration as its argument `cfg`, like that of the Python program: `state_dict`, epoch, and
/// `hyper_parameters`. There is no optimizer state.
pub fn save_lightning(path: &Path, checkpoint: &Checkpoint) -> Result<()> {
    let tensors = encode(checkpoint)?;
    let Manifest { config, epoch, .. } = &checkpoint.manifest;
    let configuration = yaml::parse(config, "the configuration in the checkpoint")?.to_json();
    let mut writer = PickleWriter::default();
    writer.dict(|writer| {
        writer.text("epoch");
        writer.int(*epoch as i64);
        writer.text("global_step");
        writer.int(0);
        writer.text("pytorch-lightning_version");
        writer.text(LIGHTNING);
        writer.text("state_dict");
        state_dict(writer, PREFIX, &tensors);
        if let Some(tree) = configuration.as_object().filter(|tree| tree.get(SECTION).is_some_and(Value::is_object)) {
            writer.text("hparams_name");
            writer.text("kwargs");
            writer.text("hyper_parameters");
            writer.dict(|writer| {
                writer.text(ARGUMENT);
                write_section(writer, tree, SECTION);
            });
        }
    });
    save(path, &checkpoint.manifest, &tensors, &writer.finish())
}

/// A tensor ready to be written.
struct EncodedTensor {
    name: String,
    /// Name of the storage class.
    class: &'static str,
    bytes: TensorBytes,
}

fn encode(checkpoint: &Checkpoint) -> Result<Vec<EncodedTensor>> {
    let encode = |(name, tensor): &(String, tch::Tensor)| {
        let class = storage_of(tensor.f_kind()?)
            .ok_or_else(|| Error::missing(format!("tensor {name} has a dtype that cannot be written to a .pt file")))?;
        Ok(EncodedTensor { name: name.clone(), class, bytes: TensorBytes::of(tensor)? })
    };
    checkpoint.tensors.iter().map(encode).collect()
}

fn state_dict(writer: &mut PickleWriter, prefix: &str, tensors: &[EncodedTensor]) {
    writer.ordered_dict(|writer| {
        for (key, EncodedTensor { name, class, bytes }) in tensors.iter().enumerate() {
            writer.text(&format!("{prefix}{name}"));
            writer.global("torch._utils", "_rebuild_tensor_v2");
            writer.tuple(|writer| {
                writer.tuple(|writer| {
                    writer.text("storage");
                    writer.global("torch", class);
                    writer.text(&key.to_string());
                    writer.text("cpu");
                    writer.int(bytes.shape.iter().product::<usize>() as i64);
                });
                writer.persistent_id();
                writer.int(0); // offset
                writer.tuple(|writer| bytes.shape.iter().for_each(|&n| writer.int(n as i64)));
                writer.tuple(|writer| row_major_strides(&bytes.shape).into_iter().for_each(|n| writer.int(n as i64)));
                writer.bool(false); // requires_grad
                writer.ordered_dict(|_| {}); // hooks
            });
            writer.call();
        }
    });
}

fn row_major_strides(shape: &[usize]) -> Vec<usize> {
    let mut strides = vec![1; shape.len()];
    for d in (1..shape.len()).rev() {
        strides[d - 1] = strides[d] * shape[d];
    }
    strides
}

fn save(path: &Path, manifest: &Manifest, tensors: &[EncodedTensor], pickle: &[u8]) -> Result<()> {
    let contents = serde_json::to_vec(manifest)
        .map_err(|error| error.to_string())
        .and_then(|manifest| pack(&manifest, tensors, pickle).map_err(|error| error.to_string()))
        .map_err(|error| Error::new(ErrorKind::Bug, format!("cannot encode {}: {error}", path.display())))?;
    write_atomic(path, &contents)
}

/// The bytes of the archive. Records have no time of writing, so that equal models give equal files.
fn pack(manifest: &[u8], tensors: &[EncodedTensor], pickle: &[u8]) -> ZipResult<Vec<u8>> {
    let mut zip = ZipWriter::new(Cursor::new(Vec::new())).set_auto_large_file();
    let options = SimpleFileOptions::default()
        .compression_method(CompressionMethod::Stored)
        .last_modified_time(zip::DateTime::default())
        .with_alignment(ALIGNMENT);
    let mut record = |name: &str, contents: &[u8]| -> ZipResult<()> {
        zip.start_file(format!("archive/{name}"), options)?;
        Ok(zip.write_all(contents)?)
    };
    record("data.pkl", pickle)?;
    record("byteorder", b"little")?;
    for (key, tensor) in tensors.iter().enumerate() {
        record(&format!("data/{key}"), &tensor.bytes.data)?;
    }
    record(MANIFEST, manifest)?;
    record("version", VERSION)?;
    Ok(zip.finish()?.into_inner())
}
