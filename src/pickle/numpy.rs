//! The pickle dialect of numpy arrays, as written by numpy 1 and 2 under Python 2 and 3.
//!
//! An array is `_reconstruct(ndarray, (0,), b"b")` with the state (version, shape, dtype, is_fortran, bytes), or from
//! protocol 5 on `_frombuffer(bytes, dtype, shape, order)`. A dtype is `dtype("u1", False, True)` with a state whose
//! second member is the byte order.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use super::constructors;
use super::errors::damaged;
use super::value::{Global, Heap, PickleValue, ValueId};
use super::vm::Dialect;
use crate::error::{Error, Result};

/// Maximum number of dimensions, the same as numpy's.
const MAX_DIMENSIONS: usize = 64;

/// An element type without fields.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NumpyDtype {
    /// One of `b i u f c`.
    pub kind: char,
    /// Bytes of one element.
    pub size: usize,
    /// The most significant byte comes first.
    pub big_endian: bool,
}

impl NumpyDtype {
    pub const U8: NumpyDtype = NumpyDtype { kind: 'u', size: 1, big_endian: false };
}

impl fmt::Display for NumpyDtype {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let order = if self.big_endian { ">" } else { "" };
        write!(f, "{order}{}{}", self.kind, self.size)
    }
}

/// An array. The number of its bytes matches its shape and dtype.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NumpyArray {
    pub dtype: NumpyDtype,
    pub shape: Vec<usize>,
    bytes: Arc<[u8]>,
    /// The first index varies fastest.
    fortran: bool,
}

impl NumpyArray {
    /// The bytes of the elements, with the last index varying fastest.
    pub fn row_major(&self) -> Cow<'_, [u8]> {
        if !self.fortran {
            return Cow::Borrowed(&self.bytes);
        }
        let mut rows = Vec::with_capacity(self.bytes.len());
        let mut index = vec![0; self.shape.len()];
        while rows.len() < self.bytes.len() {
            let offset = index.iter().zip(&self.shape).rev().fold(0, |offset, (i, n)| offset * n + i);
            rows.extend_from_slice(&self.bytes[offset * self.dtype.size..][..self.dtype.size]);
            for (i, n) in index.iter_mut().zip(&self.shape).rev() {
                *i += 1;
                if *i < *n {
                    break;
                }
                *i = 0;
            }
        }
        Cow::Owned(rows)
    }
}

/// The objects of this dialect.
#[derive(Debug, Clone)]
pub enum NumpyObject {
    Dtype(NumpyDtype),
    /// An array before its state is set.
    Blank,
    Array(NumpyArray),
}

/// The dialect: plain data and numpy arrays.
#[derive(Debug, Clone, Copy)]
pub struct NumpyDialect;

impl Dialect for NumpyDialect {
    type Object = NumpyObject;

    fn reduce(
        &mut self,
        heap: &Heap<NumpyObject>,
        callable: &Global,
        args: &[ValueId],
    ) -> Result<PickleValue<NumpyObject>> {
        if let Some(value) = constructors::reduce(heap, callable, args) {
            return value;
        }
        let object = match (&*callable.module, &*callable.name) {
            ("numpy.core.multiarray" | "numpy._core.multiarray", "_reconstruct") => reconstruct(heap, args),
            ("numpy.core.numeric" | "numpy._core.numeric", "_frombuffer") => from_buffer(heap, args),
            ("numpy", "dtype") => dtype(heap, args),
            _ => return Err(unknown(callable)),
        };
        object.map(PickleValue::Object)
    }

    fn build(&mut self, heap: &Heap<NumpyObject>, object: &NumpyObject, state: ValueId) -> Result<NumpyObject> {
        match object {
            NumpyObject::Blank => array_state(heap, state),
            NumpyObject::Dtype(dtype) => dtype_state(heap, *dtype, state),
            NumpyObject::Array(_) => Err(damaged("an array is given a state twice")),
        }
    }
}

fn unknown(callable: &Global) -> Error {
    Error::missing(format!("the pickle wants to call {callable}, which is not known to make plain data")).hint(
        "nothing was executed; take the file from its publisher, or write it anew as plain arrays, lists and dicts",
    )
}

fn reconstruct(heap: &Heap<NumpyObject>, args: &[ValueId]) -> Result<NumpyObject> {
    match args.first().map(|&id| heap.get(id)) {
        Some(PickleValue::Global(class)) if &*class.module == "numpy" && &*class.name == "ndarray" => {
            Ok(NumpyObject::Blank)
        }
        Some(PickleValue::Global(class)) => Err(unknown(class)),
        _ => Err(damaged("numpy's _reconstruct is not told which class to make")),
    }
}

fn from_buffer(heap: &Heap<NumpyObject>, args: &[ValueId]) -> Result<NumpyObject> {
    let &[bytes, dtype, shape, order] = args else {
        return Err(damaged(format!("numpy's _frombuffer has {} arguments, wanted 4", args.len())));
    };
    let fortran = match heap.text(order) {
        Some("C") => false,
        Some("F") => true,
        _ => return Err(damaged("the order of a numpy array is neither C nor F")),
    };
    array(heap, shape, dtype, fortran, bytes)
}

fn array_state(heap: &Heap<NumpyObject>, state: ValueId) -> Result<NumpyObject> {
    let Some(&[_version, shape, dtype, fortran, bytes]) = heap.items(state) else {
        return Err(damaged("the state of a numpy array is not a tuple of 5"));
    };
    let fortran = match heap.get(fortran) {
        PickleValue::Bool(fortran) => *fortran,
        PickleValue::Int(fortran) => *fortran != 0,
        other => return Err(damaged(format!("is_fortran of a numpy array is a {}", other.type_name()))),
    };
    array(heap, shape, dtype, fortran, bytes)
}

fn array(
    heap: &Heap<NumpyObject>,
    shape: ValueId,
    dtype: ValueId,
    fortran: bool,
    bytes: ValueId,
) -> Result<NumpyObject> {
    let sizes = heap.items(shape).filter(|sizes| sizes.len() <= MAX_DIMENSIONS);
    let size = |&id: &ValueId| usize::try_from(heap.int(id)?).ok();
    let Some(shape) = sizes.and_then(|sizes| sizes.iter().map(size).collect::<Option<Vec<usize>>>()) else {
        return Err(damaged(format!("the shape of a numpy array is not a tuple of up to {MAX_DIMENSIONS} sizes")));
    };
    let PickleValue::Object(NumpyObject::Dtype(dtype)) = heap.get(dtype) else {
        return Err(damaged("the dtype of a numpy array is not a dtype"));
    };
    let PickleValue::Bytes(bytes) = heap.get(bytes) else {
        let got = heap.get(bytes).type_name();
        return Err(damaged(format!("the content of a numpy array is a {got}, wanted bytes")));
    };
    let wanted = shape.iter().try_fold(dtype.size, |size, &n| size.checked_mul(n));
    if wanted != Some(bytes.len()) {
        return Err(damaged(format!(
            "a numpy array of shape {shape:?} and type {dtype} has {} bytes, wanted {}",
            bytes.len(),
            wanted.map_or("more than memory can hold".into(), |n| n.to_string())
        )));
    }
    // The bytes are put into row-major order only on request. Otherwise a small pickle could ask for any number of
    // copies of one large value.
    Ok(NumpyObject::Array(NumpyArray { dtype: *dtype, shape, bytes: bytes.clone(), fortran }))
}

fn dtype(heap: &Heap<NumpyObject>, args: &[ValueId]) -> Result<NumpyObject> {
    let text = args.first().and_then(|&id| heap.text(id)).unwrap_or_default();
    let (order, text) = match text.strip_prefix(['<', '>', '|', '=']) {
        Some(rest) => (&text[..1], rest),
        None => ("", text),
    };
    let mut letters = text.chars();
    match (letters.next(), letters.as_str().parse()) {
        (Some(kind @ ('b' | 'i' | 'u' | 'f' | 'c')), Ok(size @ (1 | 2 | 4 | 8 | 16))) => {
            Ok(NumpyObject::Dtype(NumpyDtype { kind, size, big_endian: order == ">" && size > 1 }))
        }
        _ => Err(damaged(format!("numpy dtype {:?} is not a number type", text.chars().take(20).collect::<String>()))),
    }
}

/// The state is (version, byte order, subarray, field names, fields, itemsize, alignment, flags).
fn dtype_state(heap: &Heap<NumpyObject>, dtype: NumpyDtype, state: ValueId) -> Result<NumpyObject> {
    let Some(&[_version, order, subarray, names, fields, ..]) = heap.items(state) else {
        return Err(damaged("the state of a numpy dtype is not a tuple of at least 5"));
    };
    if [subarray, names, fields].iter().any(|&id| !matches!(heap.get(id), PickleValue::None)) {
        return Err(damaged("a numpy array has records for elements, wanted numbers"));
    }
    match heap.text(order) {
        Some(">") => Ok(NumpyObject::Dtype(NumpyDtype { big_endian: dtype.size > 1, ..dtype })),
        Some("<" | "|" | "=") => Ok(NumpyObject::Dtype(NumpyDtype { big_endian: false, ..dtype })),
        _ => Err(damaged("the byte order of a numpy dtype is none of < > | =")),
    }
}
