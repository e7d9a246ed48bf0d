//! Arrays, dtypes and scalars in pickles, as written by numpy 1 and 2 under Python 2 and 3.
//!
//! An array is `_reconstruct(ndarray, (0,), b"b")` with the state (version, shape, dtype, is_fortran, bytes), or from
//! protocol 5 on `_frombuffer(bytes, dtype, shape, order)`. A dtype is `dtype("u1", False, True)` with a state whose
//! second member is the byte order. A scalar is `scalar(dtype, bytes)`.

use super::array::{NumpyArray, NumpyDtype, NumpyObject};
use super::errors::damaged;
use super::value::{Global, Heap, PickleValue, Record, ValueId};
use crate::error::Result;

/// Maximum number of dimensions, the same as numpy's.
const MAX_DIMENSIONS: usize = 64;

/// The value of `callable(*args)`. `None` if the callable is not one of numpy's constructors, or if it makes something
/// that has no numbers for elements: text, dates, records, objects, or a subclass of `ndarray`.
pub(super) fn reduce<O>(heap: &Heap<O>, callable: &Global, args: &[ValueId]) -> Option<Result<PickleValue<O>>> {
    let module = callable.module.strip_prefix("numpy")?;
    match (module, &*callable.name) {
        ("", "dtype") => dtype(heap, args).map(|dtype| Ok(PickleValue::Numpy(NumpyObject::Dtype(dtype)))),
        (".core.multiarray" | "._core.multiarray" | ".core._multiarray_umath" | "._core._multiarray_umath", name) => {
            match name {
                "_reconstruct" => makes_an_array(heap, args).then_some(Ok(PickleValue::Numpy(NumpyObject::Blank))),
                "scalar" => scalar(heap, args),
                _ => None,
            }
        }
        (".core.numeric" | "._core.numeric", "_frombuffer") => from_buffer(heap, args),
        _ => None,
    }
}

/// The value that `object` becomes by `object.__setstate__(state)`.
pub(super) fn build<O>(heap: &Heap<O>, object: &NumpyObject, state: ValueId) -> Result<PickleValue<O>> {
    match object {
        NumpyObject::Blank => array_state(heap, state),
        NumpyObject::Dtype(dtype) => dtype_state(heap, *dtype, state),
        NumpyObject::Array(_) => Err(damaged("an array is given a state twice")),
    }
}

fn makes_an_array<O>(heap: &Heap<O>, args: &[ValueId]) -> bool {
    match args.first().map(|&id| heap.get(id)) {
        Some(PickleValue::Global(class)) => &*class.module == "numpy" && &*class.name == "ndarray",
        _ => false,
    }
}

/// `scalar(dtype, bytes)`: a number becomes a plain number, and text plain text.
fn scalar<O>(heap: &Heap<O>, args: &[ValueId]) -> Option<Result<PickleValue<O>>> {
    let &[dtype, bytes] = args else { return None };
    let PickleValue::Bytes(bytes) = heap.get(bytes) else { return None };
    match heap.get(dtype) {
        PickleValue::Numpy(NumpyObject::Dtype(dtype)) => number(*dtype, bytes).map(Ok),
        PickleValue::Record(dtype) if is_text_dtype(heap, dtype) => {
            let letters = bytes.as_chunks::<4>().0.iter().map(|&code| char::from_u32(u32::from_le_bytes(code)));
            let text: String = letters.collect::<Option<_>>()?;
            Some(Ok(PickleValue::Str(text.trim_end_matches('\0').into())))
        }
        _ => None,
    }
}

fn is_text_dtype<O>(heap: &Heap<O>, dtype: &Record) -> bool {
    let name = dtype.args.first().and_then(|&id| heap.text(id)).unwrap_or_default();
    name.trim_start_matches(['<', '=']).starts_with('U')
}

/// A number of this type. `None` for a type that Python has no number for, and if the size does not fit.
fn number<O>(dtype: NumpyDtype, bytes: &[u8]) -> Option<PickleValue<O>> {
    let mut bytes = bytes.to_vec();
    if bytes.len() != dtype.size {
        return None;
    }
    if dtype.big_endian {
        bytes.reverse();
    }
    Some(match (dtype.kind, bytes.len()) {
        ('b', 1) => PickleValue::Bool(bytes[0] != 0),
        ('u', 1..=8) => PickleValue::Int(bytes.iter().rev().fold(0, |value, &byte| value << 8 | i128::from(byte))),
        ('i', 1..=8) => {
            let sign = if *bytes.last()? < 0x80 { 0 } else { -1 };
            PickleValue::Int(bytes.iter().rev().fold(sign, |value, &byte| value << 8 | i128::from(byte)))
        }
        ('f', 4) => PickleValue::Float(f32::from_le_bytes(bytes.try_into().ok()?).into()),
        ('f', 8) => PickleValue::Float(f64::from_le_bytes(bytes.try_into().ok()?)),
        _ => return None,
    })
}

fn from_buffer<O>(heap: &Heap<O>, args: &[ValueId]) -> Option<Result<PickleValue<O>>> {
    let &[bytes, dtype, shape, order] = args else {
        return Some(Err(damaged(format!("numpy's _frombuffer has {} arguments, wanted 4", args.len()))));
    };
    let fortran = match heap.text(order) {
        Some("C") => false,
        Some("F") => true,
        _ => return Some(Err(damaged("the order of a numpy array is neither C nor F"))),
    };
    match heap.get(dtype) {
        PickleValue::Numpy(NumpyObject::Dtype(dtype)) => Some(array(heap, shape, *dtype, fortran, bytes)),
        _ => None,
    }
}

fn array_state<O>(heap: &Heap<O>, state: ValueId) -> Result<PickleValue<O>> {
    let Some(&[_version, shape, dtype, fortran, bytes]) = heap.items(state) else {
        return Err(damaged("the state of a numpy array is not a tuple of 5"));
    };
    let fortran = match heap.get(fortran) {
        PickleValue::Bool(fortran) => *fortran,
        PickleValue::Int(fortran) => *fortran != 0,
        other => return Err(damaged(format!("is_fortran of a numpy array is a {}", other.type_name()))),
    };
    match heap.get(dtype) {
        PickleValue::Numpy(NumpyObject::Dtype(dtype)) => array(heap, shape, *dtype, fortran, bytes),
        PickleValue::Record(_) => {
            let class = Global { module: "numpy".into(), name: "ndarray".into() };
            Ok(PickleValue::Record(Box::new(Record { state: Some(state), ..Record::new(class, &[]) })))
        }
        _ => Err(damaged("the dtype of a numpy array is not a dtype")),
    }
}

fn array<O>(
    heap: &Heap<O>,
    shape: ValueId,
    dtype: NumpyDtype,
    fortran: bool,
    bytes: ValueId,
) -> Result<PickleValue<O>> {
    let sizes = heap.items(shape).filter(|sizes| sizes.len() <= MAX_DIMENSIONS);
    let size = |&id: &ValueId| usize::try_from(heap.int(id)?).ok();
    let Some(shape) = sizes.and_then(|sizes| sizes.iter().map(size).collect::<Option<Vec<usize>>>()) else {
        return Err(damaged(format!("the shape of a numpy array is not a tuple of up to {MAX_DIMENSIONS} sizes")));
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
    Ok(PickleValue::Numpy(NumpyObject::Array(NumpyArray { dtype, shape, bytes: bytes.clone(), fortran })))
}

/// The dtype of numbers with this name. `None` for any other dtype.
fn dtype<O>(heap: &Heap<O>, args: &[ValueId]) -> Option<NumpyDtype> {
    let text = args.first().and_then(|&id| heap.text(id))?;
    let (order, text) = match text.strip_prefix(['<', '>', '|', '=']) {
        Some(rest) => (&text[..1], rest),
        None => ("", text),
    };
    let mut letters = text.chars();
    match (letters.next(), letters.as_str().parse()) {
        (Some(kind @ ('b' | 'i' | 'u' | 'f' | 'c')), Ok(size @ (1 | 2 | 4 | 8 | 16))) => {
            Some(NumpyDtype { kind, size, big_endian: order == ">" && size > 1 })
        }
        _ => None,
    }
}

/// The state is (version, byte order, subarray, field names, fields, itemsize, alignment, flags).
fn dtype_state<O>(heap: &Heap<O>, dtype: NumpyDtype, state: ValueId) -> Result<PickleValue<O>> {
    let Some(&[_version, order, subarray, names, fields, ..]) = heap.items(state) else {
        return Err(damaged("the state of a numpy dtype is not a tuple of at least 5"));
    };
    if [subarray, names, fields].iter().any(|&id| !matches!(heap.get(id), PickleValue::None)) {
        return Err(damaged("a numpy array has records for elements, wanted numbers"));
    }
    let big_endian = match heap.text(order) {
        Some(">") => dtype.size > 1,
        Some("<" | "|" | "=") => false,
        _ => return Err(damaged("the byte order of a numpy dtype is none of < > | =")),
    };
    Ok(PickleValue::Numpy(NumpyObject::Dtype(NumpyDtype { big_endian, ..dtype })))
}
