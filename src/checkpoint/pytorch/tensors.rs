//! Storages, the views into them, and the tensors that are made of both.

use std::collections::HashMap;
use std::sync::Arc;

use tch::{Kind, Tensor};

use crate::checkpoint::errors::damaged;
use crate::error::Result;
use crate::pickle::Global;

/// Upper limit of the bytes of all weights, as a multiple of the bytes of their storages. It is above 1 because tied
/// weights are listed twice.
const MAX_SHARING: usize = 4;

/// Names of the storage classes, and their element types.
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

/// Storage classes whose elements have no meaning here, with types of the same size.
const UNREADABLE: &[(&str, Kind)] = &[
    ("ComplexFloatStorage", Kind::ComplexFloat),
    ("ComplexDoubleStorage", Kind::ComplexDouble),
    ("QInt8Storage", Kind::QInt8),
    ("QUInt8Storage", Kind::QUInt8),
    ("QInt32Storage", Kind::QInt32),
];

/// The type of the elements of a storage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ElementType(Kind);

impl ElementType {
    /// The element type of a storage class. `None` if the class is unknown.
    pub fn of_storage(class: &Global) -> Option<Self> {
        let of_torch = matches!(&*class.module, "torch" | "torch.cuda");
        let mut known = STORAGES.iter().chain(UNREADABLE);
        known.find(|(name, _)| of_torch && *class.name == **name).map(|&(_, kind)| ElementType(kind))
    }

    /// False for elements that only take room in the file.
    pub fn is_readable(self) -> bool {
        STORAGES.iter().any(|&(_, kind)| kind == self.0)
    }

    pub fn is_float(self) -> bool {
        matches!(self.0, Kind::Float | Kind::Double | Kind::Half | Kind::BFloat16)
    }

    /// Bytes of one element.
    pub fn size(self) -> usize {
        self.0.elt_size_in_bytes()
    }
}

/// The name of the storage class with elements of type `kind`. `None` if there is none.
pub fn storage_of(kind: Kind) -> Option<&'static str> {
    STORAGES.iter().find(|&&(_, known)| known == kind).map(|&(name, _)| name)
}

/// The description of a storage in a pickle. The bytes are elsewhere in the file.
#[derive(Debug)]
pub struct Storage {
    pub key: Box<str>,
    /// Name of the storage class.
    pub class: Global,
    pub element: ElementType,
    /// Number of elements.
    pub elements: usize,
}

impl Storage {
    /// Size in bytes.
    pub fn bytes(&self) -> Result<usize> {
        self.elements
            .checked_mul(self.element.size())
            .ok_or_else(|| damaged(format!("storage {:?} would be larger than memory can hold", self.key)))
    }
}

/// A tensor as a view into a storage. It lies within the number of elements that the storage states. Offset and strides
/// count elements.
#[derive(Debug)]
pub struct TensorView {
    storage: Arc<Storage>,
    offset: usize,
    shape: Vec<usize>,
    strides: Vec<usize>,
}

impl TensorView {
    /// A view of `shape` from element `offset` on.
    ///
    /// # Errors
    /// The view reaches beyond the storage, or `shape` and `strides` have different lengths.
    pub fn new(storage: Arc<Storage>, offset: usize, shape: Vec<usize>, strides: Vec<usize>) -> Result<Self> {
        let elements = shape.iter().try_fold(1_usize, |product, &n| product.checked_mul(n));
        // One past the last element.
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
                "a tensor of shape {shape:?} and strides {strides:?} at element {offset} does not fit its storage of \
                 {} elements",
                storage.elements
            )));
        }
        Ok(TensorView { storage, offset, shape, strides })
    }

    pub fn storage(&self) -> &Storage {
        &self.storage
    }

    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// True if the other view has the same elements, in a storage of the same file.
    pub fn is_alias_of(&self, other: &TensorView) -> bool {
        let place = |view: &TensorView| (view.offset, view.shape.clone(), view.strides.clone());
        self.storage.key == other.storage.key && place(self) == place(other)
    }

    fn num_elements(&self) -> usize {
        self.shape.iter().product()
    }
}

/// Weights by name: views.
pub type NamedViews = Vec<(String, Arc<TensorView>)>;

/// Reads the bytes of storages.
pub trait StorageReader {
    /// The little-endian bytes of a storage. An error if the file has more or fewer bytes than the storage states.
    fn read(&mut self, storage: &Storage) -> Result<Vec<u8>>;
}

/// Makes the tensors of these views, in the same order. Views of one storage share its memory.
pub fn materialise<'a>(
    views: impl Iterator<Item = &'a TensorView>,
    storages: &mut impl StorageReader,
) -> Result<Vec<Tensor>> {
    let mut read: HashMap<Box<str>, (ElementType, Tensor)> = HashMap::new();
    let (mut held, mut seen) = (0_usize, 0_usize);
    let mut tensors = Vec::new();
    for view in views {
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
        tensors.push(flat.f_as_strided(sizes(&view.shape), sizes(&view.strides), view.offset as i64)?);
    }
    if seen > held.saturating_mul(MAX_SHARING) {
        return Err(damaged(format!("{held} bytes of storages unfold to tensors of {seen} bytes")));
    }
    Ok(tensors)
}

/// A tensor of one dimension over the bytes of a storage.
fn flat(element: ElementType, mut bytes: Vec<u8>) -> Result<Tensor> {
    if element.0 == Kind::Bool {
        // In C++ a bool is 0 or 1; other values are undefined behaviour.
        bytes.iter_mut().for_each(|byte| *byte = u8::from(*byte != 0));
    }
    let elements = (bytes.len() / element.size()) as i64;
    Ok(Tensor::f_from_data_size(&bytes, &[elements], element.0)?)
}
