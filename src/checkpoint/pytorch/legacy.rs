//! The container before PyTorch 1.6 (`_use_new_zipfile_serialization=False`): pickles of a magic number, the protocol,
//! facts about the machine, the object and the list of storage keys; then for each key the number of elements (int64)
//! and the elements, little-endian on all machines.

use std::collections::HashMap;
use std::path::Path;

use super::document;
use super::objects::{TorchDialect, TorchObject};
use super::tensors::{Storage, StorageReader};
use crate::checkpoint::errors::{damaged, unreadable};
use crate::checkpoint::manifest::Manifest;
use crate::checkpoint::weights_dict::WeightsDict;
use crate::error::Result;
use crate::pickle::{self, Heap, Pickle, PickleValue};

const MAGIC: i128 = 0x1950_a86a_20f9_469c_fc6c;
const PROTOCOL: i128 = 1001;

/// Reads the manifest and the weights.
pub fn read(path: &Path) -> Result<(Manifest, Vec<WeightsDict>)> {
    let input = std::fs::read(path).map_err(|error| unreadable(path, &error))?;
    read_from(&input)
}

fn read_from(input: &[u8]) -> Result<(Manifest, Vec<WeightsDict>)> {
    let mut rest = input;
    let mut next = || -> Result<Pickle<TorchObject>> {
        let pickle = pickle::load(rest, &mut TorchDialect)?;
        rest = &rest[pickle.length..];
        Ok(pickle)
    };
    let magic = next()?;
    if magic.heap.int(magic.root) != Some(MAGIC) {
        return Err(damaged("a pickle, but not one of torch.save"));
    }
    let protocol = next()?;
    if protocol.heap.int(protocol.root) != Some(PROTOCOL) {
        return Err(damaged(format!("not of protocol {PROTOCOL} of PyTorch's files before 1.6")));
    }
    let _machine = next()?;
    let content = next()?;
    let keys = next()?;
    let mut storages = locate(&content.heap, &keys, rest)?;
    document::read(&content.heap, content.root, &mut storages)
}

/// The bytes of the storages, by key.
struct LocatedStorages<'a>(HashMap<&'a str, &'a [u8]>);

/// Finds the bytes of each storage. The element sizes are only in the object's pickle, so that is read first.
fn locate<'a>(
    heap: &Heap<TorchObject>,
    keys: &'a Pickle<TorchObject>,
    mut rest: &'a [u8],
) -> Result<LocatedStorages<'a>> {
    let mut described: HashMap<&str, &Storage> = HashMap::new();
    for value in heap.values() {
        if let PickleValue::Object(TorchObject::Storage(storage)) = value {
            described.insert(&storage.key, storage);
        }
    }
    let listed = keys.heap.items(keys.root).ok_or_else(|| damaged("the storages are not listed"))?;
    let mut located = HashMap::new();
    for &id in listed {
        let key = keys.heap.text(id).ok_or_else(|| damaged("the key of a storage is not text"))?;
        let storage = described.get(key).ok_or_else(|| damaged(format!("nothing is known of storage {key:?}")))?;
        let (count, behind) = rest.split_first_chunk().ok_or_else(|| damaged("the file ends before its storages"))?;
        if u64::from_le_bytes(*count) != storage.elements as u64 {
            return Err(damaged(format!("storage {key:?} has two sizes")));
        }
        let bytes = storage.bytes()?;
        let (bytes, behind) = behind.split_at_checked(bytes).ok_or_else(|| {
            damaged(format!("the file ends too early: got {} bytes of storage {key:?}, wanted {bytes}", behind.len()))
        })?;
        located.insert(key, bytes);
        rest = behind;
    }
    Ok(LocatedStorages(located))
}

impl StorageReader for LocatedStorages<'_> {
    fn read(&mut self, storage: &Storage) -> Result<Vec<u8>> {
        match self.0.get(&*storage.key) {
            Some(bytes) if bytes.len() == storage.bytes()? => Ok(bytes.to_vec()),
            Some(_) => Err(damaged(format!("storage {:?} has two sizes", storage.key))),
            None => Err(damaged(format!("the file has no storage {:?}", storage.key))),
        }
    }
}
