//! The container since PyTorch 1.6: a zip with one folder that holds `data.pkl`, `byteorder` and `data/<key>`.
//!
//! PyTorch stores its records uncompressed. An archive that another tool has packed again with deflate is read too.

use std::fs::File;
use std::io::{BufReader, Read, Seek, SeekFrom};
use std::path::Path;

use zip::ZipArchive;
use zip::result::ZipError;

use super::document;
use super::objects::TorchDialect;
use super::tensors::{Storage, StorageReader};
use super::write::MANIFEST;
use crate::checkpoint::errors::{damaged, unreadable};
use crate::checkpoint::manifest::Manifest;
use crate::checkpoint::weights_dict::WeightsDict;
use crate::error::{Error, Result};
use crate::pickle;

/// Upper limit of the size of all unpacked records, as a multiple of the file's size. Weights hardly compress; only a
/// zip bomb exceeds this.
const MAX_UNPACKING: u128 = 16;
/// Files may always unpack to this many bytes, however small they are.
const MIN_UNPACKING: u128 = 1 << 20;

/// Reads the manifest and the weights.
pub fn read(path: &Path) -> Result<(Manifest, Vec<WeightsDict>)> {
    let file = File::open(path).map_err(|error| unreadable(path, &error))?;
    read_from(BufReader::new(file))
}

fn read_from(mut input: impl Read + Seek) -> Result<(Manifest, Vec<WeightsDict>)> {
    let length = input.seek(SeekFrom::End(0)).map_err(|error| damaged(error.to_string()))?;
    let zip = ZipArchive::new(input).map_err(|error| broken("the archive", &error))?;
    let sizes = (0..zip.len()).map(|index| zip.by_index_data(index).map(|record| u128::from(record.size())));
    let unpacked: u128 = sizes.sum::<Result<_, _>>().map_err(|error| broken("the archive", &error))?;
    if unpacked > (u128::from(length) * MAX_UNPACKING).max(MIN_UNPACKING) {
        return Err(damaged(format!("{length} bytes unpack to {unpacked}")));
    }
    let mut archive = Archive { folder: folder(&zip)?, zip, big_endian: false };
    archive.big_endian = match archive.record("byteorder")?.as_deref() {
        None | Some(b"little") => false,
        Some(b"big") => true,
        Some(other) => return Err(damaged(format!("unknown byte order {:?}", String::from_utf8_lossy(other)))),
    };
    let bytes = archive.record("data.pkl")?.ok_or_else(|| damaged("the archive has no data.pkl"))?;
    let pickle = pickle::load(&bytes, &mut TorchDialect)?;
    let (mut manifest, dicts) = document::read(&pickle.heap, pickle.root, &mut archive)?;
    if let Some(ours) = archive.record(MANIFEST)? {
        manifest = serde_json::from_slice(&ours).map_err(|error| damaged(format!("{MANIFEST}: {error}")))?;
    }
    Ok((manifest, dicts))
}

struct Archive<R> {
    zip: ZipArchive<R>,
    /// The folder of all records, named after the file that was written.
    folder: String,
    big_endian: bool,
}

/// Finds the folder of the records.
fn folder<R: Read + Seek>(zip: &ZipArchive<R>) -> Result<String> {
    let mut folder = None;
    for name in zip.file_names().flatten() {
        match name.split_once('/') {
            Some((_, "constants.pkl")) => {
                return Err(Error::missing("a TorchScript archive: a program with its weights, wanted the weights")
                    .hint("in PyTorch: torch.save(torch.jit.load(PATH).state_dict(), NEW)"));
            }
            Some((above, "data.pkl")) => folder = Some(above.to_owned()),
            _ => {}
        }
    }
    folder.ok_or_else(|| damaged("a zip archive, but not one of torch.save: there is no data.pkl in it"))
}

impl<R: Read + Seek> Archive<R> {
    /// The bytes of a record, or `None` if there is none of this name.
    fn record(&mut self, name: &str) -> Result<Option<Vec<u8>>> {
        let path = format!("{}/{name}", self.folder);
        let mut file = match self.zip.by_name(&path) {
            Ok(file) => file,
            Err(ZipError::FileNotFound) => return Ok(None),
            Err(error) => return Err(broken(name, &error)),
        };
        // The sum of the stated sizes is bounded, but a record can unpack to more than its stated size.
        let size = file.size();
        let mut bytes = Vec::new();
        let read = (&mut file).take(size + 1).read_to_end(&mut bytes);
        read.map_err(|error| broken(name, &error))?;
        if bytes.len() as u64 != size {
            return Err(damaged(format!("record {name:?} does not have the {size} bytes that the archive states")));
        }
        Ok(Some(bytes))
    }
}

impl<R: Read + Seek> StorageReader for Archive<R> {
    fn read(&mut self, storage: &Storage) -> Result<Vec<u8>> {
        let wanted = storage.bytes()?;
        let name = format!("data/{}", storage.key);
        let mut bytes = self.record(&name)?.ok_or_else(|| damaged(format!("the archive has no record {name:?}")))?;
        if bytes.len() != wanted {
            return Err(damaged(format!("record {name:?} has {} bytes, wanted {wanted}", bytes.len())));
        }
        if self.big_endian {
            bytes.chunks_exact_mut(storage.element.size()).for_each(<[u8]>::reverse);
        }
        Ok(bytes)
    }
}

/// The archive, or a record of it, cannot be read.
fn broken(name: &str, error: &dyn std::fmt::Display) -> Error {
    damaged(format!("{name:?} cannot be read: {error}"))
}
