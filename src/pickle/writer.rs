//! Writes pickles of protocol 2, which every Python 3 and PyTorch's restricted reader can read.
//!
//! A value that occurs twice is written twice, unless the caller remembers and recalls it.

use serde_json::Value as Json;

/// Writes one pickle, value after value.
#[derive(Debug)]
pub struct PickleWriter(Vec<u8>);

impl Default for PickleWriter {
    fn default() -> Self {
        PickleWriter(vec![0x80, 2]) // PROTO 2
    }
}

impl PickleWriter {
    /// The bytes of the pickle. Its value is the one that was written.
    pub fn finish(mut self) -> Vec<u8> {
        self.0.push(b'.'); // STOP
        self.0
    }

    /// A name: a class or a function.
    pub fn global(&mut self, module: &str, name: &str) {
        self.0.extend([b"c", module.as_bytes(), b"\n", name.as_bytes(), b"\n"].concat()); // GLOBAL
    }

    /// A `str`.
    pub fn text(&mut self, text: &str) {
        self.0.push(b'X'); // BINUNICODE
        self.0.extend((text.len() as u32).to_le_bytes());
        self.0.extend(text.as_bytes());
    }

    pub fn int(&mut self, value: i64) {
        match i32::try_from(value) {
            Ok(value) => {
                self.0.push(b'J'); // BININT
                self.0.extend(value.to_le_bytes());
            }
            Err(_) => {
                self.0.extend([0x8a, 8]); // LONG1
                self.0.extend(value.to_le_bytes());
            }
        }
    }

    pub fn float(&mut self, value: f64) {
        self.0.push(b'G'); // BINFLOAT
        self.0.extend(value.to_be_bytes());
    }

    pub fn bool(&mut self, value: bool) {
        self.0.push(if value { 0x88 } else { 0x89 }); // NEWTRUE, NEWFALSE
    }

    pub fn none(&mut self) {
        self.0.push(b'N'); // NONE
    }

    /// A tuple of the values that `items` writes.
    pub fn tuple(&mut self, items: impl FnOnce(&mut Self)) {
        self.0.push(b'('); // MARK
        items(self);
        self.0.push(b't'); // TUPLE
    }

    /// A list of the values that `items` writes.
    pub fn list(&mut self, items: impl FnOnce(&mut Self)) {
        self.begin_list();
        items(self);
        self.end_list();
    }

    /// Begins a list of the values that are written before [`end_list`](Self::end_list).
    pub fn begin_list(&mut self) {
        self.0.extend(b"]("); // EMPTY_LIST, MARK
    }

    pub fn end_list(&mut self) {
        self.0.push(b'e'); // APPENDS
    }

    /// A dict of the keys and values that `items` writes in turn.
    pub fn dict(&mut self, items: impl FnOnce(&mut Self)) {
        self.begin_dict();
        items(self);
        self.end_dict();
    }

    /// Begins a dict of the keys and values that are written in turn before [`end_dict`](Self::end_dict).
    pub fn begin_dict(&mut self) {
        self.0.extend(b"}("); // EMPTY_DICT, MARK
    }

    pub fn end_dict(&mut self) {
        self.0.push(b'u'); // SETITEMS
    }

    /// A new object of a class, without arguments.
    pub fn new_object(&mut self, module: &str, class: &str) {
        self.global(module, class);
        self.0.extend([b')', 0x81]); // EMPTY_TUPLE, NEWOBJ
    }

    /// Takes the last value as the state of the object before it.
    pub fn build(&mut self) {
        self.0.push(b'b'); // BUILD
    }

    /// Remembers the last value under `key`.
    pub fn remember(&mut self, key: u32) {
        self.0.push(b'r'); // LONG_BINPUT
        self.0.extend(key.to_le_bytes());
    }

    /// The value that was remembered under `key`, the same object.
    pub fn recall(&mut self, key: u32) {
        self.0.push(b'j'); // LONG_BINGET
        self.0.extend(key.to_le_bytes());
    }

    /// A `collections.OrderedDict` of the keys and values that `items` writes in turn.
    pub fn ordered_dict(&mut self, items: impl FnOnce(&mut Self)) {
        self.global("collections", "OrderedDict");
        self.tuple(|_| {});
        self.call();
        self.0.push(b'('); // MARK
        items(self);
        self.end_dict();
    }

    /// Calls the global that was written before the last tuple, with that tuple as arguments.
    pub fn call(&mut self) {
        self.0.push(b'R'); // REDUCE
    }

    /// Turns the last value into a reference to an object outside of the pickle.
    pub fn persistent_id(&mut self) {
        self.0.push(b'Q'); // BINPERSID
    }

    /// A JSON value as dicts, lists, text and numbers.
    pub fn json(&mut self, value: &Json) {
        match value {
            Json::Null => self.none(),
            Json::Bool(value) => self.bool(*value),
            Json::String(text) => self.text(text),
            Json::Number(number) => match number.as_i64() {
                Some(value) => self.int(value),
                None => self.float(number.as_f64().unwrap_or(f64::NAN)),
            },
            Json::Array(items) => self.list(|w| items.iter().for_each(|item| w.json(item))),
            Json::Object(map) => self.dict(|w| {
                for (key, value) in map {
                    w.text(key);
                    w.json(value);
                }
            }),
        }
    }
}
