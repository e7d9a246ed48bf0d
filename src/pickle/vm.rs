//! The stack machine: it reads opcodes and makes a heap of values.

use std::collections::HashMap;

use super::call::{call, call_name, check_state};
use super::dialect::Dialect;
use super::errors::damaged;
use super::numpy;
use super::reader::{PickleReader, decimal, long, quoted, raw_unicode, utf8};
use super::value::{Global, Heap, PickleValue, Record, ValueId};
use crate::error::Result;

/// Maximum number of opcodes of one pickle. Each makes at most a few small values, so this limits the memory to some
/// hundred megabytes. A batch file of CIFAR has about 60 thousand.
const MAX_OPCODES: usize = 1 << 22;
/// Maximum bytes of all text and bytes values, as a multiple of the pickle's size. Bytes that Python 3 writes by
/// protocol 2 exist three times.
const MAX_UNFOLDING: usize = 4;
/// Pickles may always unfold to this many bytes, however small they are.
const MIN_UNFOLDING: usize = 1 << 20;

/// A pickle that has been read.
#[derive(Debug)]
pub struct Pickle<O> {
    pub heap: Heap<O>,
    /// The pickled value.
    pub root: ValueId,
    /// Number of bytes of the input that belong to this pickle. More data may follow.
    pub length: usize,
}

/// Reads the pickle at the start of `input`.
///
/// # Errors
/// Of kind `Missing`; the message names the position in the input.
pub fn load<D: Dialect>(input: &[u8], dialect: &mut D) -> Result<Pickle<D::Object>> {
    let mut machine = Machine {
        input: PickleReader::new(input),
        heap: Heap::new(),
        stack: Vec::new(),
        marks: Vec::new(),
        memo: HashMap::new(),
        unfolding_left: unfolding_limit(input.len()),
        dialect,
    };
    for _ in 0..MAX_OPCODES {
        let start = machine.input.at();
        match machine.step() {
            Ok(None) => {}
            Ok(Some(root)) => return Ok(Pickle { heap: machine.heap, root, length: machine.input.at() }),
            Err(error) => return Err(error.context(format!("pickle, byte {start}"))),
        }
    }
    Err(damaged(format!("the pickle has more than {MAX_OPCODES} opcodes")))
}

struct Machine<'a, D: Dialect> {
    input: PickleReader<'a>,
    heap: Heap<D::Object>,
    stack: Vec<ValueId>,
    /// Heights of the stack at each MARK.
    marks: Vec<usize>,
    memo: HashMap<u64, ValueId>,
    /// Number of bytes of text and bytes values that may still be made.
    unfolding_left: usize,
    dialect: &'a mut D,
}

impl<'a, D: Dialect> Machine<'a, D> {
    /// Executes one opcode. Returns the root at the opcode STOP.
    fn step(&mut self) -> Result<Option<ValueId>> {
        let opcode = self.input.byte()?;
        if opcode == b'.' {
            return self.pop().map(Some);
        }
        match self.value(opcode)? {
            Some(value) => self.push(value),
            None => self.act(opcode)?,
        }
        Ok(None)
    }

    /// The new value that the opcode puts on the stack. `None` if the opcode makes none.
    fn value(&mut self, opcode: u8) -> Result<Option<PickleValue<D::Object>>> {
        let value = match opcode {
            b'N' => PickleValue::None,
            0x88 => PickleValue::Bool(true),
            0x89 => PickleValue::Bool(false),
            b'K' => PickleValue::Int(self.input.number::<1>()?.into()), // BININT1
            b'M' => PickleValue::Int(self.input.number::<2>()?.into()), // BININT2
            b'J' => PickleValue::Int(i32::from_le_bytes(self.input.array()?).into()), // BININT
            b'I' => self.text_int()?,                                   // INT
            b'L' => self.text_long()?,                                  // LONG
            0x8a => integer(long(self.input.sized::<1>()?)),            // LONG1
            0x8b => integer(long(self.input.sized::<4>()?)),            // LONG4
            b'F' => self.text_float()?,                                 // FLOAT
            b'G' => PickleValue::Float(f64::from_be_bytes(self.input.array()?)), // BINFLOAT

            b'S' => self.quoted_string()?,     // STRING
            b'U' | b'C' => self.bytes::<1>()?, // SHORT_BINSTRING, SHORT_BINBYTES
            b'T' | b'B' => self.bytes::<4>()?, // BINSTRING, BINBYTES
            0x8e | 0x96 => self.bytes::<8>()?, // BINBYTES8, BYTEARRAY8
            b'V' => self.escaped_text()?,      // UNICODE
            0x8c => self.text::<1>()?,         // SHORT_BINUNICODE
            b'X' => self.text::<4>()?,         // BINUNICODE
            0x8d => self.text::<8>()?,         // BINUNICODE8

            b']' => PickleValue::List(Vec::new()),                   // EMPTY_LIST
            b'}' => PickleValue::Dict(Vec::new()),                   // EMPTY_DICT
            b')' => PickleValue::Tuple(Vec::new()),                  // EMPTY_TUPLE
            0x8f => PickleValue::Set(Vec::new()),                    // EMPTY_SET
            b'l' => PickleValue::List(self.pop_to_mark()?),          // LIST
            b't' => PickleValue::Tuple(self.pop_to_mark()?),         // TUPLE
            0x91 => PickleValue::Set(self.pop_to_mark()?),           // FROZENSET
            b'd' => PickleValue::Dict(pairs(&self.pop_to_mark()?)?), // DICT
            0x85 => self.tuple(1)?,                                  // TUPLE1
            0x86 => self.tuple(2)?,                                  // TUPLE2
            0x87 => self.tuple(3)?,                                  // TUPLE3

            b'c' => PickleValue::Global(self.global_lines()?), // GLOBAL
            0x93 => self.stack_global()?,                      // STACK_GLOBAL
            b'R' | 0x81 => self.reduce()?,                     // REDUCE, NEWOBJ
            0x92 => self.new_object_with_keywords()?,          // NEWOBJ_EX
            b'o' => self.object()?,                            // OBJ
            b'i' => self.instance()?,                          // INST
            b'P' => self.text_persistent()?,                   // PERSID
            b'Q' => self.persistent()?,                        // BINPERSID
            _ => return Ok(None),
        };
        Ok(Some(value))
    }

    /// Executes an opcode that makes no new value.
    fn act(&mut self, opcode: u8) -> Result<()> {
        match opcode {
            0x80 => self.protocol(),
            0x95 => self.frame(),

            b'(' => self.mark(),
            b'0' => self.pop_or_mark(),           // POP
            b'1' => self.pop_to_mark().map(drop), // POP_MARK
            b'2' => self.duplicate(),             // DUP

            b'a' => self.append(),    // APPEND
            b'e' => self.appends(),   // APPENDS
            0x90 => self.add_items(), // ADDITEMS
            b's' => self.set_item(),  // SETITEM
            b'u' => self.set_items(), // SETITEMS
            b'b' => self.build(),     // BUILD

            b'p' => self.input.text_number().and_then(|key| self.put(key)), // PUT
            b'q' => self.input.number::<1>().and_then(|key| self.put(key)), // BINPUT
            b'r' => self.input.number::<4>().and_then(|key| self.put(key)), // LONG_BINPUT
            0x94 => self.put(self.memo.len() as u64),                       // MEMOIZE
            b'g' => self.input.text_number().and_then(|key| self.recall(key)), // GET
            b'h' => self.input.number::<1>().and_then(|key| self.recall(key)), // BINGET
            b'j' => self.input.number::<4>().and_then(|key| self.recall(key)), // LONG_BINGET

            0x82..=0x84 => Err(damaged("extension codes have no meaning outside of one Python process")),
            0x97 | 0x98 => Err(damaged("the pickle keeps buffers outside of itself")),
            _ => Err(damaged(format!("0x{opcode:02x} is no opcode"))),
        }
    }

    // --- input ---

    fn protocol(&mut self) -> Result<()> {
        match self.input.byte()? {
            0..=5 => Ok(()),
            version => Err(damaged(format!("the pickle is of protocol {version}, wanted at most 5"))),
        }
    }

    /// A frame only says how many bytes can be read ahead.
    fn frame(&mut self) -> Result<()> {
        let length = self.input.number::<8>()?;
        let rest = self.input.len() - self.input.at();
        if length > rest as u64 {
            return Err(damaged(format!("the input ends too early: got {rest} more bytes, wanted {length}")));
        }
        Ok(())
    }

    // --- stack and memo ---

    fn push(&mut self, value: PickleValue<D::Object>) {
        let id = self.heap.push(value);
        self.stack.push(id);
    }

    fn mark(&mut self) -> Result<()> {
        self.marks.push(self.stack.len());
        Ok(())
    }

    /// The height of the last mark. Values below it cannot be popped.
    fn floor(&self) -> usize {
        self.marks.last().copied().unwrap_or(0)
    }

    fn pop(&mut self) -> Result<ValueId> {
        if self.stack.len() <= self.floor() {
            return Err(damaged("the pickle takes a value from an empty stack"));
        }
        self.stack.pop().ok_or_else(|| damaged("the stack is empty"))
    }

    fn top(&self) -> Result<ValueId> {
        match self.stack[self.floor()..].last() {
            Some(&id) => Ok(id),
            None => Err(damaged("the pickle looks at an empty stack")),
        }
    }

    fn pop_to_mark(&mut self) -> Result<Vec<ValueId>> {
        let mark = self.marks.pop().ok_or_else(|| damaged("the pickle goes back to a mark that it never set"))?;
        Ok(self.stack.split_off(mark))
    }

    fn pop_or_mark(&mut self) -> Result<()> {
        if self.marks.last() == Some(&self.stack.len()) {
            self.marks.pop();
            return Ok(());
        }
        self.pop().map(drop)
    }

    fn duplicate(&mut self) -> Result<()> {
        let id = self.top()?;
        self.stack.push(id);
        Ok(())
    }

    fn put(&mut self, key: u64) -> Result<()> {
        let id = self.top()?;
        self.memo.insert(key, id);
        Ok(())
    }

    fn recall(&mut self, key: u64) -> Result<()> {
        let Some(&id) = self.memo.get(&key) else {
            return Err(damaged(format!("the pickle recalls value {key}, which it never stored")));
        };
        self.stack.push(id);
        Ok(())
    }

    // --- numbers and text ---

    /// An integer of protocol 0; `00` and `01` are its booleans.
    fn text_int(&mut self) -> Result<PickleValue<D::Object>> {
        match self.input.text_line()? {
            "00" => Ok(PickleValue::Bool(false)),
            "01" => Ok(PickleValue::Bool(true)),
            digits => decimal(digits).map(integer),
        }
    }

    fn text_long(&mut self) -> Result<PickleValue<D::Object>> {
        let line = self.input.text_line()?;
        decimal(line.strip_suffix('L').unwrap_or(line)).map(integer)
    }

    fn text_float(&mut self) -> Result<PickleValue<D::Object>> {
        let value = self.input.text_line()?.parse().map_err(|_| damaged("a float is malformed"))?;
        Ok(PickleValue::Float(value))
    }

    fn bytes<const N: usize>(&mut self) -> Result<PickleValue<D::Object>> {
        let bytes = self.input.sized::<N>()?;
        self.account(bytes.len())?;
        Ok(PickleValue::Bytes(bytes.into()))
    }

    fn text<const N: usize>(&mut self) -> Result<PickleValue<D::Object>> {
        let text = utf8(self.input.sized::<N>()?)?;
        self.account(text.len())?;
        Ok(PickleValue::Str(text.into()))
    }

    fn quoted_string(&mut self) -> Result<PickleValue<D::Object>> {
        let bytes = quoted(self.input.line()?)?;
        self.account(bytes.len())?;
        Ok(PickleValue::Bytes(bytes.into()))
    }

    fn escaped_text(&mut self) -> Result<PickleValue<D::Object>> {
        let text = raw_unicode(self.input.line()?)?;
        self.account(text.len())?;
        Ok(PickleValue::Str(text.into()))
    }

    /// Counts bytes of new values against the limit, because a small input can copy one large value many times.
    fn account(&mut self, bytes: usize) -> Result<()> {
        match self.unfolding_left.checked_sub(bytes) {
            Some(left) => {
                self.unfolding_left = left;
                Ok(())
            }
            None => Err(damaged(format!(
                "{} bytes of pickle unfold to more than {} bytes of content",
                self.input.len(),
                unfolding_limit(self.input.len())
            ))),
        }
    }

    // --- containers ---

    fn tuple(&mut self, n: usize) -> Result<PickleValue<D::Object>> {
        match self.stack.len().checked_sub(n) {
            Some(start) if start >= self.floor() => Ok(PickleValue::Tuple(self.stack.split_off(start))),
            _ => Err(damaged(format!("the stack has no {n} values for a tuple"))),
        }
    }

    fn append(&mut self) -> Result<()> {
        let item = self.pop()?;
        self.extend_list(vec![item])
    }

    fn appends(&mut self) -> Result<()> {
        let items = self.pop_to_mark()?;
        self.extend_list(items)
    }

    fn extend_list(&mut self, new: Vec<ValueId>) -> Result<()> {
        let list = self.top()?;
        match self.heap.get_mut(list) {
            PickleValue::List(items) => items.extend(new),
            PickleValue::Record(record) => record.items.extend(new),
            other => return Err(damaged(format!("the pickle appends to a {}", other.type_name()))),
        }
        Ok(())
    }

    fn add_items(&mut self) -> Result<()> {
        let new = self.pop_to_mark()?;
        let set = self.top()?;
        match self.heap.get_mut(set) {
            PickleValue::Set(items) => items.extend(new),
            PickleValue::Record(record) => record.items.extend(new),
            other => return Err(damaged(format!("the pickle adds members to a {}", other.type_name()))),
        }
        Ok(())
    }

    fn set_item(&mut self) -> Result<()> {
        let value = self.pop()?;
        let key = self.pop()?;
        self.extend_dict(vec![(key, value)])
    }

    fn set_items(&mut self) -> Result<()> {
        let new = pairs(&self.pop_to_mark()?)?;
        self.extend_dict(new)
    }

    fn extend_dict(&mut self, new: Vec<(ValueId, ValueId)>) -> Result<()> {
        let dict = self.top()?;
        match self.heap.get_mut(dict) {
            PickleValue::Dict(entries) => entries.extend(new),
            PickleValue::Record(record) => record.entries.extend(new),
            other => return Err(damaged(format!("the pickle sets items of a {}", other.type_name()))),
        }
        Ok(())
    }

    // --- names and objects ---

    fn global_lines(&mut self) -> Result<Global> {
        let (module, name) = (self.input.text_line()?, self.input.text_line()?);
        self.account(module.len() + name.len())?;
        Ok(Global { module: module.into(), name: name.into() })
    }

    fn stack_global(&mut self) -> Result<PickleValue<D::Object>> {
        let name = self.pop()?;
        let module = self.pop()?;
        match (self.heap.get(module), self.heap.get(name)) {
            (PickleValue::Str(module), PickleValue::Str(name)) => {
                Ok(PickleValue::Global(Global { module: module.clone(), name: name.clone() }))
            }
            _ => Err(damaged("a global is named by something other than text")),
        }
    }

    fn reduce(&mut self) -> Result<PickleValue<D::Object>> {
        let args = self.pop()?;
        let callable = self.pop()?;
        let PickleValue::Tuple(args) = self.heap.get(args) else {
            return Err(damaged(format!("the arguments of a call are a {}", self.heap.get(args).type_name())));
        };
        let value = call(self.dialect, &self.heap, callable, args, None)?;
        self.accounted(value)
    }

    fn new_object_with_keywords(&mut self) -> Result<PickleValue<D::Object>> {
        let keywords = self.pop()?;
        let args = self.pop()?;
        let callable = self.pop()?;
        let (PickleValue::Dict(entries), PickleValue::Tuple(args)) = (self.heap.get(keywords), self.heap.get(args))
        else {
            return Err(damaged("the arguments of a call are not a tuple and a dict"));
        };
        let keywords = (!entries.is_empty()).then_some(keywords);
        let value = call(self.dialect, &self.heap, callable, args, keywords)?;
        self.accounted(value)
    }

    fn object(&mut self) -> Result<PickleValue<D::Object>> {
        let items = self.pop_to_mark()?;
        let Some((&class, args)) = items.split_first() else {
            return Err(damaged("an object is made without a class"));
        };
        let value = call(self.dialect, &self.heap, class, args, None)?;
        self.accounted(value)
    }

    fn instance(&mut self) -> Result<PickleValue<D::Object>> {
        let class = self.global_lines()?;
        let args = self.pop_to_mark()?;
        let value = call_name(self.dialect, &self.heap, &class, &args)?;
        self.accounted(value)
    }

    fn text_persistent(&mut self) -> Result<PickleValue<D::Object>> {
        let text = self.input.text_line()?;
        self.account(text.len())?;
        self.push(PickleValue::Str(text.into()));
        self.persistent()
    }

    fn persistent(&mut self) -> Result<PickleValue<D::Object>> {
        let id = self.pop()?;
        let value = self.dialect.persistent(&self.heap, id)?;
        self.accounted(value)
    }

    /// Counts the bytes of a value that the dialect made.
    fn accounted(&mut self, value: PickleValue<D::Object>) -> Result<PickleValue<D::Object>> {
        self.account(match &value {
            PickleValue::Bytes(bytes) => bytes.len(),
            PickleValue::Str(text) => text.len(),
            PickleValue::List(ids) | PickleValue::Tuple(ids) | PickleValue::Set(ids) => size_of_val(ids.as_slice()),
            PickleValue::Dict(entries) => size_of_val(entries.as_slice()),
            PickleValue::Record(record) => {
                let ids = record.args.len() + record.items.len() + 2 * record.entries.len();
                size_of::<Record>() + ids * size_of::<ValueId>()
            }
            _ => 0,
        })?;
        Ok(value)
    }

    fn build(&mut self) -> Result<()> {
        let state = self.pop()?;
        let target = self.top()?;
        let built = match self.heap.get(target) {
            PickleValue::Object(object) => PickleValue::Object(self.dialect.build(&self.heap, object, state)?),
            PickleValue::Numpy(object) => numpy::build(&self.heap, object, state)?,
            PickleValue::Record(record) => {
                check_state(&self.heap, state)?;
                PickleValue::Record(Box::new(Record { state: Some(state), ..(**record).clone() }))
            }
            // Attributes of an OrderedDict or a deque are not its content.
            PickleValue::Dict(_) | PickleValue::List(_) | PickleValue::Set(_) | PickleValue::Str(_) => return Ok(()),
            other => return Err(damaged(format!("the pickle sets the state of a {}", other.type_name()))),
        };
        *self.heap.get_mut(target) = built;
        Ok(())
    }
}

/// An integer. One of more than 128 bits, such as the state of a generator, is a record without a value.
fn integer<O>(value: Option<i128>) -> PickleValue<O> {
    match value {
        Some(value) => PickleValue::Int(value),
        None => {
            let class = Global { module: "builtins".into(), name: "int".into() };
            PickleValue::Record(Box::new(Record::new(class, &[])))
        }
    }
}

/// Maximum number of bytes of text and bytes values that a pickle of `input_len` bytes may unfold to.
fn unfolding_limit(input_len: usize) -> usize {
    input_len.saturating_mul(MAX_UNFOLDING).max(MIN_UNFOLDING)
}

fn pairs(flat: &[ValueId]) -> Result<Vec<(ValueId, ValueId)>> {
    match flat.as_chunks::<2>() {
        (pairs, []) => Ok(pairs.iter().map(|&[key, value]| (key, value)).collect()),
        _ => Err(damaged("a dict has a key without a value")),
    }
}
