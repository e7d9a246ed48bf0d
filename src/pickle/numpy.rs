//! The dialect of numpy's arrays, as numpy 1 and 2 write them under Python 2 and 3.
//!
//! An array is `_reconstruct(ndarray, (0,), b"b")` with the state (version, shape, dtype, is_fortran, bytes), or from
//! protocol 5 on `_frombuffer(bytes, dtype, shape, order)`. A dtype is `dtype("u1", False, True)` with a state whose
//! second member is the byte order.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use super::value::{Global, Heap, Id, Value};
use super::vm::Dialect;
use super::{constructors, damaged};
use crate::error::{Error, Result};

/// numpy's own limit.
const MAX_DIMENSIONS: usize = 64;

/// An element type without fields: kind `b i u f c`, bytes, and whether the most significant byte comes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Dtype {
    pub kind: char,
    pub size: usize,
    pub big_endian: bool,
}

impl Dtype {
    pub const U8: Dtype = Dtype { kind: 'u', size: 1, big_endian: false };
}

impl fmt::Display for Dtype {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let order = if self.big_endian { ">" } else { "" };
        write!(f, "{order}{}{}", self.kind, self.size)
    }
}

/// An array whose bytes are as many as its shape and dtype say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Array {
    pub dtype: Dtype,
    pub shape: Vec<usize>,
    bytes: Arc<[u8]>,
    /// The first index varies fastest.
    fortran: bool,
}

impl Array {
    /// The elements, the last index varying fastest.
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
pub enum Object {
    Dtype(Dtype),
    /// An array that waits for its state.
    Blank,
    Array(Array),
}

/// Plain data and numpy arrays.
#[derive(Debug, Clone, Copy)]
pub struct Numpy;

impl Dialect for Numpy {
    type Object = Object;

    fn reduce(&mut self, heap: &Heap<Object>, callable: &Global, args: &[Id]) -> Result<Value<Object>> {
        if let Some(value) = constructors::reduce(heap, callable, args) {
            return value;
        }
        let object = match (&*callable.module, &*callable.name) {
            ("numpy.core.multiarray" | "numpy._core.multiarray", "_reconstruct") => reconstruct(heap, args),
            ("numpy.core.numeric" | "numpy._core.numeric", "_frombuffer") => from_buffer(heap, args),
            ("numpy", "dtype") => dtype(heap, args),
            _ => return Err(unknown(callable)),
        };
        object.map(Value::Object)
    }

    fn build(&mut self, heap: &Heap<Object>, object: &Object, state: Id) -> Result<Object> {
        match object {
            Object::Blank => array_state(heap, state),
            Object::Dtype(dtype) => dtype_state(heap, *dtype, state),
            Object::Array(_) => Err(damaged("an array is given a state twice")),
        }
    }
}

fn unknown(callable: &Global) -> Error {
    Error::missing(format!("the pickle wants to call {callable}, which is not known to make plain data")).hint(
        "nothing was executed; take the file from its publisher, or write it anew as plain arrays, lists and dicts",
    )
}

fn reconstruct(heap: &Heap<Object>, args: &[Id]) -> Result<Object> {
    match args.first().map(|&id| heap.get(id)) {
        Some(Value::Global(class)) if &*class.module == "numpy" && &*class.name == "ndarray" => Ok(Object::Blank),
        Some(Value::Global(class)) => Err(unknown(class)),
        _ => Err(damaged("numpy's _reconstruct is not told which class to make")),
    }
}

fn from_buffer(heap: &Heap<Object>, args: &[Id]) -> Result<Object> {
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

fn array_state(heap: &Heap<Object>, state: Id) -> Result<Object> {
    let Some(&[_version, shape, dtype, fortran, bytes]) = heap.items(state) else {
        return Err(damaged("the state of a numpy array is not a tuple of 5"));
    };
    let fortran = match heap.get(fortran) {
        Value::Bool(fortran) => *fortran,
        Value::Int(fortran) => *fortran != 0,
        other => return Err(damaged(format!("is_fortran of a numpy array is a {}", other.type_name()))),
    };
    array(heap, shape, dtype, fortran, bytes)
}

fn array(heap: &Heap<Object>, shape: Id, dtype: Id, fortran: bool, bytes: Id) -> Result<Object> {
    let sizes = heap.items(shape).filter(|sizes| sizes.len() <= MAX_DIMENSIONS);
    let size = |&id: &Id| usize::try_from(heap.int(id)?).ok();
    let Some(shape) = sizes.and_then(|sizes| sizes.iter().map(size).collect::<Option<Vec<usize>>>()) else {
        return Err(damaged(format!("the shape of a numpy array is not a tuple of up to {MAX_DIMENSIONS} sizes")));
    };
    let Value::Object(Object::Dtype(dtype)) = heap.get(dtype) else {
        return Err(damaged("the dtype of a numpy array is not a dtype"));
    };
    let Value::Bytes(bytes) = heap.get(bytes) else {
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
    // Reordering waits until it is asked for: a small pickle could order any number of copies of one large value.
    Ok(Object::Array(Array { dtype: *dtype, shape, bytes: bytes.clone(), fortran }))
}

fn dtype(heap: &Heap<Object>, args: &[Id]) -> Result<Object> {
    let text = args.first().and_then(|&id| heap.text(id)).unwrap_or_default();
    let (order, text) = match text.strip_prefix(['<', '>', '|', '=']) {
        Some(rest) => (&text[..1], rest),
        None => ("", text),
    };
    let mut letters = text.chars();
    match (letters.next(), letters.as_str().parse()) {
        (Some(kind @ ('b' | 'i' | 'u' | 'f' | 'c')), Ok(size @ (1 | 2 | 4 | 8 | 16))) => {
            Ok(Object::Dtype(Dtype { kind, size, big_endian: order == ">" && size > 1 }))
        }
        _ => Err(damaged(format!("numpy dtype {:?} is not a number type", text.chars().take(20).collect::<String>()))),
    }
}

/// (version, byte order, subarray, field names, fields, itemsize, alignment, flags)
fn dtype_state(heap: &Heap<Object>, dtype: Dtype, state: Id) -> Result<Object> {
    let Some(&[_version, order, subarray, names, fields, ..]) = heap.items(state) else {
        return Err(damaged("the state of a numpy dtype is not a tuple of at least 5"));
    };
    if [subarray, names, fields].iter().any(|&id| !matches!(heap.get(id), Value::None)) {
        return Err(damaged("a numpy array has records for elements, wanted numbers"));
    }
    match heap.text(order) {
        Some(">") => Ok(Object::Dtype(Dtype { big_endian: dtype.size > 1, ..dtype })),
        Some("<" | "|" | "=") => Ok(Object::Dtype(Dtype { big_endian: false, ..dtype })),
        _ => Err(damaged("the byte order of a numpy dtype is none of < > | =")),
    }
}
