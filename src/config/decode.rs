//! A resolved tree into typed structs: a serde deserializer that knows where it is.
//!
//! Every error names the full key, the value found, what is wanted, and the place where the value was written. Integers
//! serve as floats, numbers as text and as names of choices (`precision: 32`), true and false as such names; nothing else
//! is converted.

use serde::de::value::StrDeserializer;
use serde::de::{self, DeserializeOwned, DeserializeSeed, Deserializer, EnumAccess, MapAccess, SeqAccess, Visitor};
use serde::de::{Expected, IntoDeserializer, Unexpected, VariantAccess};
use std::cell::RefCell;
use std::fmt;

use super::node::{MANDATORY, join};
use super::section::{self, Section};
use super::{Map, Node, Origin, Value};
use crate::error::{Error, did_you_mean};

/// A struct with a field of this name gets the whole section in it, and may have keys that it does not list.
pub(super) const WHOLE: &str = "$self";

/// Reads `node`, found at `path`. Keys in `ignored` belong to somebody else. Keys that nobody reads are pushed to
/// `warnings` where the user added them, and are errors otherwise.
pub(super) fn decode<T: DeserializeOwned>(
    path: &str,
    node: &Node,
    ignored: &[&str],
    warnings: &mut Vec<String>,
) -> Result<T, Error> {
    let collected = RefCell::new(Vec::new());
    let result = T::deserialize(Reader { node, path, ignored, warnings: &collected });
    warnings.append(&mut collected.into_inner());
    result.map_err(|failure| {
        let error = Error::usage(failure.message);
        match failure.hint {
            Some(hint) => error.hint(hint),
            None => error,
        }
    })
}

#[derive(Debug)]
pub(super) struct Failure {
    message: String,
    hint: Option<String>,
    /// The message already says where.
    placed: bool,
}

impl Failure {
    fn new(message: impl Into<String>) -> Self {
        Failure { message: message.into(), hint: None, placed: false }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Failure {}

impl de::Error for Failure {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Failure::new(message.to_string())
    }

    fn invalid_type(_: Unexpected, wanted: &dyn Expected) -> Self {
        Failure::new(format!("wanted {wanted}"))
    }

    fn invalid_value(_: Unexpected, wanted: &dyn Expected) -> Self {
        Failure::new(format!("wanted {wanted}"))
    }

    fn invalid_length(_: usize, wanted: &dyn Expected) -> Self {
        Failure::new(format!("wanted {wanted}"))
    }

    fn missing_field(field: &'static str) -> Self {
        Failure::new(format!("the key `{field}` is missing"))
    }
}

#[derive(Clone, Copy)]
struct Reader<'a> {
    node: &'a Node,
    path: &'a str,
    ignored: &'a [&'a str],
    warnings: &'a RefCell<Vec<String>>,
}

impl<'a> Reader<'a> {
    fn child<'c>(&'c self, path: &'c str, node: &'c Node) -> Reader<'c> {
        Reader { node, path, ignored: &[], warnings: self.warnings }
    }

    /// Adds key, value and place to a failure that does not have them yet.
    fn place(&self, mut failure: Failure) -> Failure {
        if !failure.placed {
            failure.message = match self.path {
                "" => format!("the configuration: {}", failure.message),
                path => {
                    format!("{}: `{path}` is {}: {}", self.node.origin, self.node.value.described(), failure.message)
                }
            };
            failure.placed = true;
        }
        failure
    }

    fn wanted<T>(&self, what: &str) -> Result<T, Failure> {
        if matches!(&self.node.value, Value::Str(text) if text == MANDATORY) {
            return Err(Failure {
                message: format!("{}: `{}` must be given ({what})", self.node.origin, self.path),
                hint: Some(format!("write `{}=...`", self.path)),
                placed: true,
            });
        }
        Err(self.place(Failure::new(format!("wanted {what}"))))
    }

    /// The value as an integer of the given range.
    fn int<T: TryFrom<i64>>(&self, wanted: &str) -> Result<T, Failure> {
        match self.node.value {
            Value::Int(value) => T::try_from(value).or_else(|_| self.wanted(wanted)),
            Value::Float(value) if value.fract() == 0.0 => self.wanted(wanted).map_err(|failure| Failure {
                hint: Some(format!("write it without a point: `{}={value:.0}`", self.path)),
                ..failure
            }),
            _ => self.wanted(wanted),
        }
    }

    /// Refuses keys that are neither in `fields` nor in `ignored`.
    fn check_keys(&self, map: &Map, fields: &[&str]) -> Result<(), Failure> {
        let known = || fields.iter().chain(self.ignored).copied();
        for (key, node) in map.iter().filter(|(key, _)| !known().any(|known| known == *key)) {
            let path = join(self.path, key);
            let hint = did_you_mean(key, known());
            if let Origin::Override { text, added: true } = &node.origin {
                let note = format!("override `{text}`: nothing reads `{path}`; it is kept, without effect ({hint})");
                self.warnings.borrow_mut().push(note);
                continue;
            }
            let message = format!("{}: unknown key `{path}`", node.origin);
            return Err(Failure { message, hint: Some(hint), placed: true });
        }
        Ok(())
    }

    fn fields<'de, V: Visitor<'de>>(self, fields: &'static [&'static str], visitor: V) -> Result<V::Value, Failure> {
        let Value::Map(map) = &self.node.value else { return self.wanted("a section with keys") };
        let is_open = fields.contains(&WHOLE);
        if !is_open {
            self.check_keys(map, fields)?;
        }
        let mut keys: Vec<&str> = map.keys().filter(|key| fields.contains(key) && *key != WHOLE).collect();
        if is_open {
            keys.push(WHOLE);
        }
        visitor
            .visit_map(Keys { reader: &self, keys: keys.into_iter(), current: "" })
            .map_err(|failure| self.place(failure))
    }
}

macro_rules! integers {
    ($($method:ident $visit:ident $type:ty, $wanted:literal;)*) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failure> {
            visitor.$visit(self.int::<$type>($wanted)?).map_err(|failure| self.place(failure))
        }
    )*};
}

impl<'de> Deserializer<'de> for Reader<'_> {
    type Error = Failure;

    integers! {
        deserialize_i8 visit_i8 i8, "an integer from -128 to 127";
        deserialize_i16 visit_i16 i16, "an integer of 16 bits";
        deserialize_i32 visit_i32 i32, "an integer of 32 bits";
        deserialize_i64 visit_i64 i64, "an integer";
        deserialize_u8 visit_u8 u8, "an integer from 0 to 255";
        deserialize_u16 visit_u16 u16, "an integer from 0 to 65535";
        deserialize_u32 visit_u32 u32, "an integer from 0 to 4294967295";
        deserialize_u64 visit_u64 u64, "an integer, at least 0";
    }

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failure> {
        match &self.node.value {
            Value::Null => visitor.visit_unit(),
            Value::Bool(value) => visitor.visit_bool(*value),
            Value::Int(value) => visitor.visit_i64(*value),
            Value::Float(value) => visitor.visit_f64(*value),
            Value::Str(text) => visitor.visit_str(text),
            Value::List(_) => return self.deserialize_seq(visitor),
            Value::Map(_) => return self.deserialize_map(visitor),
        }
        .map_err(|failure| self.place(failure))
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failure> {
        match self.node.value {
            Value::Bool(value) => visitor.visit_bool(value).map_err(|failure| self.place(failure)),
            _ => self.wanted("true or false"),
        }
    }

    fn deserialize_f64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failure> {
        let number = match self.node.value {
            Value::Float(value) => value,
            Value::Int(value) => value as f64,
            _ => return self.wanted("a number"),
        };
        visitor.visit_f64(number).map_err(|failure| self.place(failure))
    }

    fn deserialize_f32<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failure> {
        self.deserialize_f64(visitor)
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failure> {
        match &self.node.value {
            Value::Str(text) if text != MANDATORY => visitor.visit_str(text).map_err(|failure| self.place(failure)),
            value @ (Value::Int(_) | Value::Float(_)) => {
                visitor.visit_str(&value.python_str()).map_err(|failure| self.place(failure))
            }
            _ => self.wanted("text"),
        }
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failure> {
        self.deserialize_str(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failure> {
        match self.node.value {
            Value::Null => visitor.visit_none(),
            _ => visitor.visit_some(self),
        }
    }

    fn deserialize_unit<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failure> {
        match self.node.value {
            Value::Null => visitor.visit_unit(),
            _ => self.wanted("null"),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, name: &'static str, visitor: V) -> Result<V::Value, Failure> {
        if name == section::TOKEN {
            section::hand_over(Section::new(self.path, self.node.clone()));
            return visitor.visit_unit();
        }
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failure> {
        let Value::List(items) = &self.node.value else { return self.wanted("a list") };
        visitor
            .visit_seq(Items { reader: &self, items: items.iter().enumerate() })
            .map_err(|failure| self.place(failure))
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, length: usize, visitor: V) -> Result<V::Value, Failure> {
        match &self.node.value {
            Value::List(items) if items.len() == length => self.deserialize_seq(visitor),
            _ => self.wanted(&format!("a list of {length}")),
        }
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        length: usize,
        visitor: V,
    ) -> Result<V::Value, Failure> {
        self.deserialize_tuple(length, visitor)
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failure> {
        let Value::Map(map) = &self.node.value else { return self.wanted("a section with keys") };
        let keys = map.keys().collect::<Vec<_>>().into_iter();
        visitor.visit_map(Keys { reader: &self, keys, current: "" }).map_err(|failure| self.place(failure))
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Failure> {
        self.fields(fields, visitor)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Failure> {
        let allowed = || format!("one of {}", variants.join(", "));
        let text = match &self.node.value {
            Value::Str(text) if text != MANDATORY => text.clone(),
            Value::Int(value) => value.to_string(),
            Value::Bool(value) => value.to_string(),
            _ => return self.wanted(&allowed()),
        };
        if !variants.contains(&text.as_str()) {
            return self
                .wanted(&allowed())
                .map_err(|failure| Failure { hint: Some(did_you_mean(&text, variants.iter().copied())), ..failure });
        }
        visitor.visit_enum(Choice(&text)).map_err(|failure| self.place(failure))
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failure> {
        visitor.visit_unit()
    }

    serde::forward_to_deserialize_any! { i128 u128 char bytes byte_buf unit_struct identifier }
}

struct Items<'r, 'a> {
    reader: &'r Reader<'a>,
    items: std::iter::Enumerate<std::slice::Iter<'a, Node>>,
}

impl<'de> SeqAccess<'de> for Items<'_, '_> {
    type Error = Failure;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, Failure> {
        let Some((index, node)) = self.items.next() else { return Ok(None) };
        let path = join(self.reader.path, &index.to_string());
        seed.deserialize(self.reader.child(&path, node)).map(Some)
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.items.len())
    }
}

struct Keys<'r, 'a> {
    reader: &'r Reader<'a>,
    keys: std::vec::IntoIter<&'a str>,
    current: &'a str,
}

impl<'de> MapAccess<'de> for Keys<'_, '_> {
    type Error = Failure;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Failure> {
        let Some(key) = self.keys.next() else { return Ok(None) };
        self.current = key;
        let key: StrDeserializer<Failure> = key.into_deserializer();
        seed.deserialize(key).map(Some)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Failure> {
        if self.current == WHOLE {
            return seed.deserialize(*self.reader);
        }
        let path = join(self.reader.path, self.current);
        match self.reader.node.as_map().and_then(|map| map.get(self.current)) {
            Some(node) => seed.deserialize(self.reader.child(&path, node)),
            None => Err(Failure::new(format!("the key `{}` is missing", self.current))),
        }
    }
}

struct Choice<'a>(&'a str);

impl<'de> EnumAccess<'de> for Choice<'_> {
    type Error = Failure;
    type Variant = Unit;

    fn variant_seed<V: DeserializeSeed<'de>>(self, seed: V) -> Result<(V::Value, Unit), Failure> {
        let name: StrDeserializer<Failure> = self.0.into_deserializer();
        Ok((seed.deserialize(name)?, Unit))
    }
}

/// The content of a choice: none, as choices are plain names.
struct Unit;

impl<'de> VariantAccess<'de> for Unit {
    type Error = Failure;

    fn unit_variant(self) -> Result<(), Failure> {
        Ok(())
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, _: T) -> Result<T::Value, Failure> {
        Err(Failure::new("this choice cannot be written as a name alone"))
    }

    fn tuple_variant<V: Visitor<'de>>(self, _: usize, _: V) -> Result<V::Value, Failure> {
        Err(Failure::new("this choice cannot be written as a name alone"))
    }

    fn struct_variant<V: Visitor<'de>>(self, _: &'static [&'static str], _: V) -> Result<V::Value, Failure> {
        Err(Failure::new("this choice cannot be written as a name alone"))
    }
}
