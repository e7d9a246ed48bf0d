//! The constructors of plain Python data that pickles call in every dialect.

use std::sync::Arc;

use super::errors::damaged;
use super::value::{Global, Heap, PickleValue, ValueId};
use crate::error::Result;

/// The value of `callable(*args)`. `None` if the callable is not one of these constructors.
pub fn reduce<O>(heap: &Heap<O>, callable: &Global, args: &[ValueId]) -> Option<Result<PickleValue<O>>> {
    let value = match (&*callable.module, &*callable.name) {
        // In protocols 0 to 2 Python 3 writes bytes as text with one character per byte.
        ("_codecs", "encode") => encode(heap, args),
        ("builtins" | "__builtin__", "bytes" | "bytearray") => bytes(heap, args),
        ("builtins" | "__builtin__", "set" | "frozenset") => members(heap, args).map(PickleValue::Set),
        // The argument makes default values. The pickle lists all values, so it is not needed.
        ("collections", "defaultdict") => Some(PickleValue::Dict(Vec::new())),
        ("collections", "OrderedDict") => pairs(heap, args).map(PickleValue::Dict),
        ("collections", "Counter") => counts(heap, args).map(PickleValue::Dict),
        ("collections", "deque") => members(heap, &args[..args.len().min(1)]).map(PickleValue::List),
        ("pathlib" | "pathlib._local", name) if name.ends_with("Path") => path(heap, args),
        _ => return None,
    };
    Some(value.ok_or_else(|| damaged(format!("{callable} is called with arguments that it does not take"))))
}

fn encode<O>(heap: &Heap<O>, args: &[ValueId]) -> Option<PickleValue<O>> {
    let [text, encoding] = args else { return None };
    let (PickleValue::Str(text), "latin1" | "latin-1") = (heap.get(*text), heap.text(*encoding)?) else { return None };
    let mut bytes = Vec::with_capacity(text.len());
    for character in text.chars() {
        bytes.push(u8::try_from(u32::from(character)).ok()?);
    }
    Some(PickleValue::Bytes(bytes.into()))
}

fn bytes<O>(heap: &Heap<O>, args: &[ValueId]) -> Option<PickleValue<O>> {
    match args {
        [] => Some(PickleValue::Bytes(Arc::from([]))),
        [only] => match heap.get(*only) {
            PickleValue::Bytes(bytes) => Some(PickleValue::Bytes(bytes.clone())),
            _ => None,
        },
        [_, _] => encode(heap, args),
        _ => None,
    }
}

fn members<O>(heap: &Heap<O>, args: &[ValueId]) -> Option<Vec<ValueId>> {
    match args {
        [] => Some(Vec::new()),
        [only] => heap.items(*only).map(<[ValueId]>::to_vec),
        _ => None,
    }
}

fn pairs<O>(heap: &Heap<O>, args: &[ValueId]) -> Option<Vec<(ValueId, ValueId)>> {
    let pair = |id| match heap.items(id) {
        Some(&[key, value]) => Some((key, value)),
        _ => None,
    };
    members(heap, args)?.into_iter().map(pair).collect()
}

fn counts<O>(heap: &Heap<O>, args: &[ValueId]) -> Option<Vec<(ValueId, ValueId)>> {
    match args {
        [] => Some(Vec::new()),
        [only] => heap.entries(*only).map(<[_]>::to_vec),
        _ => None,
    }
}

/// A path as text. Its arguments are its parts, of which the first can be the root.
fn path<O>(heap: &Heap<O>, args: &[ValueId]) -> Option<PickleValue<O>> {
    let parts: Vec<&str> = args.iter().map(|&id| heap.text(id)).collect::<Option<_>>()?;
    let text = match parts.as_slice() {
        ["/", rest @ ..] => format!("/{}", rest.join("/")),
        parts => parts.join("/"),
    };
    Some(PickleValue::Str(text.into()))
}
