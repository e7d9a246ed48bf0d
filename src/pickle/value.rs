//! The values of a pickle.

use std::fmt;
use std::sync::Arc;

use super::array::NumpyObject;

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
    Numpy(NumpyObject),
    Record(Box<Record>),
    /// An object of the dialect.
    Object(O),
}

/// An object of a class that has no meaning here. It holds all that the pickle says of it; nothing was called.
#[derive(Debug, Clone)]
pub struct Record {
    pub class: Global,
    /// Arguments of the call that would make the object.
    pub args: Vec<ValueId>,
    /// Its attributes: mostly a dict.
    pub state: Option<ValueId>,
    /// Members of a subclass of `list` or `set`.
    pub items: Vec<ValueId>,
    /// Keys and values of a subclass of `dict`.
    pub entries: Vec<(ValueId, ValueId)>,
}

impl Record {
    pub fn new(class: Global, args: &[ValueId]) -> Self {
        Record { class, args: args.to_vec(), state: None, items: Vec::new(), entries: Vec::new() }
    }
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
            PickleValue::Numpy(NumpyObject::Dtype(_)) => "numpy.dtype",
            PickleValue::Numpy(_) => "numpy.ndarray",
            PickleValue::Record(_) => "object",
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

    /// The members of a list or a tuple, or of a subclass of `list`. `None` for any other value.
    pub fn items(&self, id: ValueId) -> Option<&[ValueId]> {
        match self.get(id) {
            PickleValue::List(items) | PickleValue::Tuple(items) => Some(items),
            PickleValue::Record(record) if !record.items.is_empty() => Some(&record.items),
            _ => None,
        }
    }

    /// Keys and values of a dict, or of a subclass of `dict` that is not empty. `None` for any other value.
    pub fn entries(&self, id: ValueId) -> Option<&[(ValueId, ValueId)]> {
        match self.get(id) {
            PickleValue::Dict(entries) => Some(entries),
            PickleValue::Record(record) if !record.entries.is_empty() => Some(&record.entries),
            _ => None,
        }
    }

    /// The value under a text key of a dict. `None` if `id` is no dict or has no such key.
    pub fn entry(&self, id: ValueId, key: &str) -> Option<ValueId> {
        self.entries(id)?.iter().rev().find(|&&(k, _)| self.is_text(k, key)).map(|&(_, value)| value)
    }

    /// The dicts that hold the attributes of a record: one, or two if its class has slots. Empty for any other value.
    pub fn attributes(&self, id: ValueId) -> Vec<ValueId> {
        let PickleValue::Record(record) = self.get(id) else { return Vec::new() };
        let Some(state) = record.state else { return Vec::new() };
        match self.get(state) {
            PickleValue::Dict(_) => vec![state],
            PickleValue::Tuple(parts) if parts.len() == 2 => {
                parts.iter().copied().filter(|&part| matches!(self.get(part), PickleValue::Dict(_))).collect()
            }
            _ => Vec::new(),
        }
    }

    /// The value of an attribute of a record. `None` if it has no such attribute, or is no record.
    pub fn attribute(&self, id: ValueId, name: &str) -> Option<ValueId> {
        self.attributes(id).into_iter().find_map(|attributes| self.entry(attributes, name))
    }

    fn is_text(&self, id: ValueId, text: &str) -> bool {
        match self.get(id) {
            PickleValue::Str(value) => **value == *text,
            PickleValue::Bytes(value) => **value == *text.as_bytes(),
            _ => false,
        }
    }
}
