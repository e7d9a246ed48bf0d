//! What a pickle unfolds to.

use std::fmt;
use std::sync::Arc;

/// A place in a [`Heap`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Id(u32);

/// A name that a pickle refers to: a symbol, never looked up.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Global {
    pub module: Arc<str>,
    pub name: Arc<str>,
}

impl fmt::Display for Global {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Names come from the input: they must neither flood nor steer the terminal.
        let printable = |name: &str| name.chars().take(80).flat_map(char::escape_debug).collect::<String>();
        write!(f, "{}.{}", printable(&self.module), printable(&self.name))
    }
}

/// One Python value; `O` are the objects of a dialect.
#[derive(Debug, Clone)]
pub enum Value<O> {
    None,
    Bool(bool),
    Int(i128),
    Float(f64),
    Str(Arc<str>),
    /// `bytes`, `bytearray`, and Python 2's `str`, which says nothing of its encoding.
    Bytes(Arc<[u8]>),
    List(Vec<Id>),
    Tuple(Vec<Id>),
    Set(Vec<Id>),
    /// In the order of insertion; of equal keys the last one counts.
    Dict(Vec<(Id, Id)>),
    Global(Global),
    Object(O),
}

impl<O> Value<O> {
    /// What Python calls this kind of value.
    pub fn type_name(&self) -> &'static str {
        match self {
            Value::None => "None",
            Value::Bool(_) => "bool",
            Value::Int(_) => "int",
            Value::Float(_) => "float",
            Value::Str(_) => "str",
            Value::Bytes(_) => "bytes",
            Value::List(_) => "list",
            Value::Tuple(_) => "tuple",
            Value::Set(_) => "set",
            Value::Dict(_) => "dict",
            Value::Global(_) => "global",
            Value::Object(_) => "object",
        }
    }
}

/// All values of one pickle. They refer to each other by [`Id`], and may do so in cycles.
#[derive(Debug)]
pub struct Heap<O> {
    values: Vec<Value<O>>,
}

impl<O> Heap<O> {
    pub(super) fn new() -> Self {
        Heap { values: Vec::new() }
    }

    /// The machine bounds the number of its opcodes, and so of values, far below 2^32.
    pub(super) fn push(&mut self, value: Value<O>) -> Id {
        let id = Id(self.values.len() as u32);
        self.values.push(value);
        id
    }

    pub(super) fn get_mut(&mut self, id: Id) -> &mut Value<O> {
        &mut self.values[id.0 as usize]
    }

    /// The value at `id`, an id that this heap gave out.
    pub fn get(&self, id: Id) -> &Value<O> {
        &self.values[id.0 as usize]
    }

    /// All values, in the order of their making.
    pub fn values(&self) -> &[Value<O>] {
        &self.values
    }

    /// The text of a `str`, or of Python 2's `str` where it is UTF-8.
    pub fn text(&self, id: Id) -> Option<&str> {
        match self.get(id) {
            Value::Str(text) => Some(text),
            Value::Bytes(bytes) => std::str::from_utf8(bytes).ok(),
            _ => None,
        }
    }

    pub fn int(&self, id: Id) -> Option<i128> {
        match self.get(id) {
            Value::Int(value) => Some(*value),
            _ => None,
        }
    }

    /// The members of a list or a tuple.
    pub fn items(&self, id: Id) -> Option<&[Id]> {
        match self.get(id) {
            Value::List(items) | Value::Tuple(items) => Some(items),
            _ => None,
        }
    }

    /// The value under a text key of a dict.
    pub fn entry(&self, id: Id, key: &str) -> Option<Id> {
        match self.get(id) {
            Value::Dict(entries) => entries.iter().rev().find(|&&(k, _)| self.is_text(k, key)).map(|&(_, value)| value),
            _ => None,
        }
    }

    fn is_text(&self, id: Id, text: &str) -> bool {
        match self.get(id) {
            Value::Str(value) => **value == *text,
            Value::Bytes(value) => **value == *text.as_bytes(),
            _ => false,
        }
    }
}
