//! The values of a pickle.

use std::fmt;
use std::sync::Arc;

/// The index of a value in a [`Heap`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ValueId(u32);

/// A name in a pickle. It is never looked up in Python.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Global {
    pub module: Arc<str>,
    pub name: Arc<str>,
}

impl fmt::Display for Global {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Shortened and with control characters escaped, so that a hostile name cannot disturb the terminal.
        let printable = |name: &str| name.chars().take(80).flat_map(char::escape_debug).collect::<String>();
        write!(f, "{}.{}", printable(&self.module), printable(&self.name))
    }
}

/// One Python value. `O` is the type of the dialect's objects.
#[derive(Debug, Clone)]
pub enum PickleValue<O> {
    None,
    Bool(bool),
    Int(i128),
    Float(f64),
    Str(Arc<str>),
    /// `bytes`, `bytearray`, and Python 2's `str`, whose encoding is unknown.
    Bytes(Arc<[u8]>),
    List(Vec<ValueId>),
    Tuple(Vec<ValueId>),
    Set(Vec<ValueId>),
    /// Keys and values in the order of insertion. Of equal keys the last one counts.
    Dict(Vec<(ValueId, ValueId)>),
    Global(Global),
    Object(O),
}

impl<O> PickleValue<O> {
    /// Python's name for the type of the value.
    pub fn type_name(&self) -> &'static str {
        match self {
            PickleValue::None => "None",
            PickleValue::Bool(_) => "bool",
            PickleValue::Int(_) => "int",
            PickleValue::Float(_) => "float",
            PickleValue::Str(_) => "str",
            PickleValue::Bytes(_) => "bytes",
            PickleValue::List(_) => "list",
            PickleValue::Tuple(_) => "tuple",
            PickleValue::Set(_) => "set",
            PickleValue::Dict(_) => "dict",
            PickleValue::Global(_) => "global",
            PickleValue::Object(_) => "object",
        }
    }
}

/// All values of one pickle. They refer to each other by [`ValueId`], possibly in cycles.
#[derive(Debug)]
pub struct Heap<O> {
    values: Vec<PickleValue<O>>,
}

impl<O> Heap<O> {
    pub(super) fn new() -> Self {
        Heap { values: Vec::new() }
    }

    /// Adds a value. The machine limits the number of opcodes, and so of values, far below 2^32.
    pub(super) fn push(&mut self, value: PickleValue<O>) -> ValueId {
        let id = ValueId(self.values.len() as u32);
        self.values.push(value);
        id
    }

    pub(super) fn get_mut(&mut self, id: ValueId) -> &mut PickleValue<O> {
        &mut self.values[id.0 as usize]
    }

    /// The value with an id of this heap.
    pub fn get(&self, id: ValueId) -> &PickleValue<O> {
        &self.values[id.0 as usize]
    }

    /// All values, in the order of creation.
    pub fn values(&self) -> &[PickleValue<O>] {
        &self.values
    }

    /// The text of a `str`, or of Python 2's `str` if it is UTF-8. `None` for any other value.
    pub fn text(&self, id: ValueId) -> Option<&str> {
        match self.get(id) {
            PickleValue::Str(text) => Some(text),
            PickleValue::Bytes(bytes) => std::str::from_utf8(bytes).ok(),
            _ => None,
        }
    }

    /// The value of an `int`. `None` for any other value.
    pub fn int(&self, id: ValueId) -> Option<i128> {
        match self.get(id) {
            PickleValue::Int(value) => Some(*value),
            _ => None,
        }
    }

    /// The members of a list or a tuple. `None` for any other value.
    pub fn items(&self, id: ValueId) -> Option<&[ValueId]> {
        match self.get(id) {
            PickleValue::List(items) | PickleValue::Tuple(items) => Some(items),
            _ => None,
        }
    }

    /// The value under a text key of a dict. `None` if `id` is no dict or has no such key.
    pub fn entry(&self, id: ValueId, key: &str) -> Option<ValueId> {
        match self.get(id) {
            PickleValue::Dict(entries) => {
                entries.iter().rev().find(|&&(k, _)| self.is_text(k, key)).map(|&(_, value)| value)
            }
            _ => None,
        }
    }

    fn is_text(&self, id: ValueId, text: &str) -> bool {
        match self.get(id) {
            PickleValue::Str(value) => **value == *text,
            PickleValue::Bytes(value) => **value == *text.as_bytes(),
            _ => false,
        }
    }
}
