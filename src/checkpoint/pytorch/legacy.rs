//! The container before PyTorch 1.6 (`_use_new_zipfile_serialization=False`): pickles of a magic number, the protocol,
//! facts of the machine, the object and the list of storage keys; then for each key the number of elements (int64) and
//! the elements, little-endian on all machines.

use std::collections::HashMap;

use super::objects::{Object, Torch};
use super::tensors::{Storage, Storages, materialise};
use super::{Contents, damaged, document};
use crate::error::Result;
use crate::pickle::{self, Heap, Pickle, Value};

const MAGIC: i128 = 0x1950_a86a_20f9_469c_fc6c;
const PROTOCOL: i128 = 1001;

/// Whether a file that starts like this is of this kind, or at least a pickle.
pub fn is_start(start: &[u8]) -> bool {
    matches!(start, [0x80, 0..=5, ..])
}

pub fn read(input: &[u8]) -> Result<Contents> {
    let mut rest = input;
    let mut next = || -> Result<Pickle<Object>> {
        let pickle = pickle::load(rest, &mut Torch)?;
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
    let (manifest, views) = document::read(&content.heap, content.root)?;
    Ok((manifest, materialise(views, &mut storages)?))
}

/// Storages by key.
struct Located<'a>(HashMap<&'a str, &'a [u8]>);

/// Walks over the storages. Only the object tells how large their elements are.
fn locate<'a>(heap: &Heap<Object>, keys: &'a Pickle<Object>, mut rest: &'a [u8]) -> Result<Located<'a>> {
    let mut described: HashMap<&str, &Storage> = HashMap::new();
    for value in heap.values() {
        if let Value::Object(Object::Storage(storage)) = value {
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
    Ok(Located(located))
}

impl Storages for Located<'_> {
    fn read(&mut self, storage: &Storage) -> Result<Vec<u8>> {
        match self.0.get(&*storage.key) {
            Some(bytes) if bytes.len() == storage.bytes()? => Ok(bytes.to_vec()),
            Some(_) => Err(damaged(format!("storage {:?} has two sizes", storage.key))),
            None => Err(damaged(format!("the file has no storage {:?}", storage.key))),
        }
    }
}
