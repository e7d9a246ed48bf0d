//! The zip container as `torch.save` writes it, for `torch.load` with `weights_only=True`.
//!
//! Besides what PyTorch looks at there is a record with our manifest, which it ignores: such a file can come back as the
//! checkpoint that it was.

use std::io::{Cursor, Write};
use std::path::Path;

use zip::result::ZipResult;
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

use super::tensors::storage_of;
use crate::checkpoint::bytes::Bytes;
use crate::checkpoint::{Checkpoint, Manifest};
use crate::config;
use crate::error::{Error, ErrorKind, Result};
use crate::files::write_atomic;
use crate::pickle::Writer;

/// The record with our manifest, JSON.
pub const MANIFEST: &str = "regun.json";
/// Version of the container, as PyTorch counts.
const VERSION: &[u8] = b"3\n";
/// PyTorch maps records into memory: they begin at multiples of this.
const ALIGNMENT: u16 = 64;
/// Version of Lightning that a file claims: files as old as this need no conversion.
const LIGHTNING: &str = "2.0.0";
/// The attribute of Lightning modules that is the network.
const PREFIX: &str = "model.";

/// Writes names and tensors, as `torch.save(model.state_dict(), path)` does.
pub fn save_state_dict(path: &Path, checkpoint: &Checkpoint) -> Result<()> {
    let tensors = encode(checkpoint)?;
    let mut writer = Writer::default();
    state_dict(&mut writer, "", &tensors);
    save(path, &checkpoint.manifest, &tensors, &writer.finish())
}

/// Writes what Lightning needs to load the weights into a module whose network is its attribute `model`: `state_dict`,
/// epoch, and the configuration as `hyper_parameters` in plain dicts. There is no state of an optimizer.
pub fn save_lightning(path: &Path, checkpoint: &Checkpoint) -> Result<()> {
    let tensors = encode(checkpoint)?;
    let Manifest { config, epoch, .. } = &checkpoint.manifest;
    let hyper_parameters = config::yaml::parse(config, "the configuration in the checkpoint")?.to_json();
    let mut writer = Writer::default();
    writer.dict(|writer| {
        writer.text("epoch");
        writer.int(*epoch as i64);
        writer.text("global_step");
        writer.int(0);
        writer.text("pytorch-lightning_version");
        writer.text(LIGHTNING);
        writer.text("state_dict");
        state_dict(writer, PREFIX, &tensors);
        if hyper_parameters.as_object().is_some_and(|tree| !tree.is_empty()) {
            writer.text("hyper_parameters");
            writer.json(&hyper_parameters);
        }
    });
    save(path, &checkpoint.manifest, &tensors, &writer.finish())
}

/// A tensor on its way out.
struct Encoded {
    name: String,
    /// Name of the storage class.
    class: &'static str,
    bytes: Bytes,
}

fn encode(checkpoint: &Checkpoint) -> Result<Vec<Encoded>> {
    let encode = |(name, tensor): &(String, tch::Tensor)| {
        let class = storage_of(tensor.f_kind()?)
            .ok_or_else(|| Error::missing(format!("tensor {name} is of a type that .pt files cannot have here")))?;
        Ok(Encoded { name: name.clone(), class, bytes: Bytes::of(tensor)? })
    };
    checkpoint.tensors.iter().map(encode).collect()
}

fn state_dict(writer: &mut Writer, prefix: &str, tensors: &[Encoded]) {
    writer.ordered_dict(|writer| {
        for (key, Encoded { name, class, bytes }) in tensors.iter().enumerate() {
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

fn save(path: &Path, manifest: &Manifest, tensors: &[Encoded], pickle: &[u8]) -> Result<()> {
    let contents = serde_json::to_vec(manifest)
        .map_err(|error| error.to_string())
        .and_then(|manifest| pack(&manifest, tensors, pickle).map_err(|error| error.to_string()))
        .map_err(|error| Error::new(ErrorKind::Bug, format!("cannot encode {}: {error}", path.display())))?;
    write_atomic(path, &contents)
}

/// The archive. Equal models are equal files: no record has a time.
fn pack(manifest: &[u8], tensors: &[Encoded], pickle: &[u8]) -> ZipResult<Vec<u8>> {
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
