//! The constructors of plain Python data that pickles call in every dialect.

use std::sync::Arc;

use super::damaged;
use super::value::{Global, Heap, Id, Value};
use crate::error::Result;

/// The value of `callable(*args)`, or nothing where the callable is not one of these.
pub fn reduce<O>(heap: &Heap<O>, callable: &Global, args: &[Id]) -> Option<Result<Value<O>>> {
    let value = match (&*callable.module, &*callable.name) {
        // How protocols 0 to 2 of Python 3 write bytes: as text with one character for each.
        ("_codecs", "encode") => encode(heap, args),
        ("builtins" | "__builtin__", "bytes" | "bytearray") => bytes(heap, args),
        ("builtins" | "__builtin__", "set" | "frozenset") => members(heap, args).map(Value::Set),
        // Called with what makes its default values, which none of the values is made by.
        ("collections", "defaultdict") => Some(Value::Dict(Vec::new())),
        ("collections", "OrderedDict") => pairs(heap, args).map(Value::Dict),
        _ => return None,
    };
    Some(value.ok_or_else(|| damaged(format!("{callable} is called with arguments that it does not take"))))
}

fn encode<O>(heap: &Heap<O>, args: &[Id]) -> Option<Value<O>> {
    let [text, encoding] = args else { return None };
    let (Value::Str(text), "latin1" | "latin-1") = (heap.get(*text), heap.text(*encoding)?) else { return None };
    let mut bytes = Vec::with_capacity(text.len());
    for character in text.chars() {
        bytes.push(u8::try_from(u32::from(character)).ok()?);
    }
    Some(Value::Bytes(bytes.into()))
}

fn bytes<O>(heap: &Heap<O>, args: &[Id]) -> Option<Value<O>> {
    match args {
        [] => Some(Value::Bytes(Arc::from([]))),
        [only] => match heap.get(*only) {
            Value::Bytes(bytes) => Some(Value::Bytes(bytes.clone())),
            _ => None,
        },
        [_, _] => encode(heap, args),
        _ => None,
    }
}

fn members<O>(heap: &Heap<O>, args: &[Id]) -> Option<Vec<Id>> {
    match args {
        [] => Some(Vec::new()),
        [only] => heap.items(*only).map(<[Id]>::to_vec),
        _ => None,
    }
}

fn pairs<O>(heap: &Heap<O>, args: &[Id]) -> Option<Vec<(Id, Id)>> {
    let pair = |id| match heap.items(id) {
        Some(&[key, value]) => Some((key, value)),
        _ => None,
    };
    members(heap, args)?.into_iter().map(pair).collect()
}
