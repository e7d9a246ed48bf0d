//! Storages, the views into them, and the tensors that come of both.

use std::collections::HashMap;
use std::sync::Arc;

use tch::{Kind, Tensor};

use super::damaged;
use crate::error::Result;
use crate::pickle::Global;

/// All weights together may be this many times the storages that they lie in: tied weights are listed twice.
const MAX_SHARING: usize = 4;

/// (name of the storage class, element type)
const STORAGES: &[(&str, Kind)] = &[
    ("FloatStorage", Kind::Float),
    ("DoubleStorage", Kind::Double),
    ("HalfStorage", Kind::Half),
    ("BFloat16Storage", Kind::BFloat16),
    ("LongStorage", Kind::Int64),
    ("IntStorage", Kind::Int),
    ("ShortStorage", Kind::Int16),
    ("CharStorage", Kind::Int8),
    ("ByteStorage", Kind::Uint8),
    ("BoolStorage", Kind::Bool),
];

/// Type of a storage's elements.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Element(Kind);

impl Element {
    pub fn of_storage(class: &Global) -> Option<Self> {
        let of_torch = matches!(&*class.module, "torch" | "torch.cuda");
        STORAGES.iter().find(|(name, _)| of_torch && *class.name == **name).map(|&(_, kind)| Element(kind))
    }

    /// Bytes.
    pub fn size(self) -> usize {
        self.0.elt_size_in_bytes()
    }
}

/// Name of the storage class for elements of this type.
pub fn storage_of(kind: Kind) -> Option<&'static str> {
    STORAGES.iter().find(|&&(_, known)| known == kind).map(|&(name, _)| name)
}

/// What a pickle says of a storage. Its bytes lie elsewhere.
#[derive(Debug)]
pub struct Storage {
    pub key: Box<str>,
    pub element: Element,
    pub elements: usize,
}

impl Storage {
    pub fn bytes(&self) -> Result<usize> {
        self.elements
            .checked_mul(self.element.size())
            .ok_or_else(|| damaged(format!("storage {:?} would be larger than memory can hold", self.key)))
    }
}

/// A tensor: a part of a storage that lies inside of it, if the storage is as long as it says.
#[derive(Debug)]
pub struct View {
    storage: Arc<Storage>,
    offset: usize,
    shape: Vec<usize>,
    strides: Vec<usize>,
}

impl View {
    pub fn new(storage: Arc<Storage>, offset: usize, shape: Vec<usize>, strides: Vec<usize>) -> Result<Self> {
        let elements = shape.iter().try_fold(1_usize, |product, &n| product.checked_mul(n));
        // One behind the last element.
        let end = match elements {
            Some(0) => Some(offset),
            _ => shape
                .iter()
                .zip(&strides)
                .try_fold(offset, |end, (&n, &stride)| end.checked_add((n - 1).checked_mul(stride)?))
                .and_then(|last| last.checked_add(1)),
        };
        let fits = shape.len() == strides.len()
            && elements.is_some_and(|n| n <= storage.elements)
            && end.is_some_and(|end| end <= storage.elements);
        if !fits {
            return Err(damaged(format!(
                "a tensor of shape {shape:?} and strides {strides:?} at element {offset} does not fit its storage of {} \
                 elements",
                storage.elements
            )));
        }
        Ok(View { storage, offset, shape, strides })
    }

    pub fn storage(&self) -> &Storage {
        &self.storage
    }

    fn num_elements(&self) -> usize {
        self.shape.iter().product()
    }
}

/// Where the bytes of storages come from.
pub trait Storages {
    /// The little-endian bytes of a storage, as many as it says; an error where the file has not just these.
    fn read(&mut self, storage: &Storage) -> Result<Vec<u8>>;
}

/// The tensors of these views, in their order. Views of one storage share its memory.
pub fn materialise(views: Vec<(String, Arc<View>)>, storages: &mut impl Storages) -> Result<Vec<(String, Tensor)>> {
    let mut read: HashMap<Box<str>, (Element, Tensor)> = HashMap::new();
    let (mut held, mut seen) = (0_usize, 0_usize);
    let mut tensors = Vec::with_capacity(views.len());
    for (name, view) in views {
        let storage = view.storage();
        if !read.contains_key(&storage.key) {
            let bytes = storages.read(storage)?;
            held += bytes.len();
            read.insert(storage.key.clone(), (storage.element, flat(storage.element, bytes)?));
        }
        let Some((element, flat)) = read.get(&storage.key).filter(|(_, flat)| flat.numel() == storage.elements) else {
            return Err(damaged(format!("storage {:?} has two sizes", storage.key)));
        };
        if *element != storage.element {
            return Err(damaged(format!("storage {:?} has elements of two types", storage.key)));
        }
        seen = seen.saturating_add(view.num_elements() * element.size());
        let sizes = |sizes: &[usize]| sizes.iter().map(|&n| n as i64).collect::<Vec<_>>();
        tensors.push((name, flat.f_as_strided(sizes(&view.shape), sizes(&view.strides), view.offset as i64)?));
    }
    if seen > held.saturating_mul(MAX_SHARING) {
        return Err(damaged(format!("{held} bytes of storages unfold to tensors of {seen} bytes")));
    }
    Ok(tensors)
}

fn flat(element: Element, mut bytes: Vec<u8>) -> Result<Tensor> {
    if element.0 == Kind::Bool {
        // C++ knows only these two.
        bytes.iter_mut().for_each(|byte| *byte = u8::from(*byte != 0));
    }
    let elements = (bytes.len() / element.size()) as i64;
    Ok(Tensor::f_from_data_size(&bytes, &[elements], element.0)?)
}
