//! A resolved tree to typed structs, with serde.
//!
//! Every error names the full key, the value found, the wanted value, and the place where the value was written.
//! Integers serve as floats. Numbers serve as text. Integers, true and false serve as names of choices. No other type
//! is converted.

use serde::de::value::StrDeserializer;
use serde::de::{DeserializeOwned, DeserializeSeed, Deserializer, EnumAccess, MapAccess, SeqAccess, Visitor};
use serde::de::{Expected, IntoDeserializer, VariantAccess};
use std::cell::RefCell;

use super::decode_fault::DecodeFault;
use super::node::{KeyMap, MANDATORY, Node, Origin, Value, join};
use crate::error::{Error, did_you_mean};

/// Reads `node`, found at `path`, without its keys in `ignored`. A key that `T` does not have is an error, or a warning
/// in `warnings` if the user added it with `+`.
///
/// # Errors
/// Wrong type, unknown choice, missing or unknown key.
pub(super) fn decode<T: DeserializeOwned>(
    path: &str,
    node: &Node,
    ignored: &[&str],
    warnings: &mut Vec<String>,
) -> Result<T, Error> {
    let collected = RefCell::new(Vec::new());
    let result = T::deserialize(NodeDeserializer { node, path, ignored, warnings: &collected });
    warnings.append(&mut collected.into_inner());
    result.map_err(|fault| {
        let error = Error::usage(fault.message);
        match fault.hint {
            Some(hint) => error.hint(hint),
            None => error,
        }
    })
}

/// One value of the tree and its path.
#[derive(Clone, Copy)]
struct NodeDeserializer<'a> {
    node: &'a Node,
    path: &'a str,
    ignored: &'a [&'a str],
    warnings: &'a RefCell<Vec<String>>,
}

impl<'a> NodeDeserializer<'a> {
    fn child<'c>(&'c self, path: &'c str, node: &'c Node) -> NodeDeserializer<'c> {
        NodeDeserializer { node, path, ignored: &[], warnings: self.warnings }
    }

    /// Adds key, value and place to a fault that lacks them.
    fn place(&self, mut fault: DecodeFault) -> DecodeFault {
        if !fault.placed {
            fault.message = match self.path {
                "" => format!("the configuration: {}", fault.message),
                path => {
                    format!("{}: `{path}` is {}: {}", self.node.origin, self.node.value.described(), fault.message)
                }
            };
            fault.placed = true;
        }
        fault
    }

    /// A fault that names the wanted value. A value that the user must still give has a message of its own.
    fn wanted<T>(&self, what: &str) -> Result<T, DecodeFault> {
        if matches!(&self.node.value, Value::Str(text) if text == MANDATORY) {
            return Err(DecodeFault {
                message: format!("{}: `{}` must be given ({what})", self.node.origin, self.path),
                hint: Some(format!("write `{}=...`", self.path)),
                placed: true,
            });
        }
        Err(self.place(DecodeFault::new(format!("wanted {what}"))))
    }

    /// The value as an integer of the given range.
    fn int<T: TryFrom<i64>>(&self, wanted: &str) -> Result<T, DecodeFault> {
        match self.node.value {
            Value::Int(value) => T::try_from(value).or_else(|_| self.wanted(wanted)),
            Value::Float(value) if value.fract() == 0.0 => self.wanted(wanted).map_err(|fault| DecodeFault {
                hint: Some(format!("write it without a point: `{}={value:.0}`", self.path)),
                ..fault
            }),
            _ => self.wanted(wanted),
        }
    }

    /// Refuses keys that are neither in `fields` nor in `ignored`.
    fn check_keys(&self, map: &KeyMap, fields: &[&str]) -> Result<(), DecodeFault> {
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
            return Err(DecodeFault { message, hint: Some(hint), placed: true });
        }
        Ok(())
    }

    fn fields<'de, V: Visitor<'de>>(
        self,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, DecodeFault> {
        let Value::Map(map) = &self.node.value else { return self.wanted("a section with keys") };
        self.check_keys(map, fields)?;
        let keys: Vec<&str> = map.keys().filter(|key| fields.contains(key)).collect();
        self.visit_keys(keys, visitor)
    }

    fn visit_keys<'de, V: Visitor<'de>>(self, keys: Vec<&str>, visitor: V) -> Result<V::Value, DecodeFault> {
        let keys = NodeKeys { node: &self, keys: keys.into_iter(), current: "" };
        visitor.visit_map(keys).map_err(|fault| self.place(fault))
    }
}

macro_rules! integers {
    ($($method:ident $visit:ident $type:ty, $wanted:literal;)*) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeFault> {
            visitor.$visit(self.int::<$type>($wanted)?).map_err(|fault| self.place(fault))
        }
    )*};
}

impl<'de> Deserializer<'de> for NodeDeserializer<'_> {
    type Error = DecodeFault;

    integers! {
        deserialize_i64 visit_i64 i64, "an integer";
        deserialize_u64 visit_u64 u64, "an integer, at least 0";
    }

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeFault> {
        match &self.node.value {
            Value::Null => visitor.visit_unit(),
            Value::Bool(value) => visitor.visit_bool(*value),
            Value::Int(value) => visitor.visit_i64(*value),
            Value::Float(value) => visitor.visit_f64(*value),
            Value::Str(text) if text == MANDATORY => return self.wanted(&(&visitor as &dyn Expected).to_string()),
            Value::Str(text) => visitor.visit_str(text),
            Value::List(_) => return self.deserialize_seq(visitor),
            Value::Map(_) => return self.deserialize_map(visitor),
        }
        .map_err(|fault| self.place(fault))
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeFault> {
        match self.node.value {
            Value::Bool(value) => visitor.visit_bool(value).map_err(|fault| self.place(fault)),
            _ => self.wanted("true or false"),
        }
    }

    fn deserialize_f64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeFault> {
        let number = match self.node.value {
            Value::Float(value) => value,
            Value::Int(value) => value as f64,
            _ => return self.wanted("a number"),
        };
        visitor.visit_f64(number).map_err(|fault| self.place(fault))
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeFault> {
        match &self.node.value {
            Value::Str(text) if text != MANDATORY => visitor.visit_str(text).map_err(|fault| self.place(fault)),
            value @ (Value::Int(_) | Value::Float(_)) => {
                visitor.visit_str(&value.python_str()).map_err(|fault| self.place(fault))
            }
            _ => self.wanted("text"),
        }
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeFault> {
        self.deserialize_str(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeFault> {
        match self.node.value {
            Value::Null => visitor.visit_none(),
            _ => visitor.visit_some(self),
        }
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeFault> {
        let Value::List(items) = &self.node.value else { return self.wanted("a list") };
        visitor.visit_seq(NodeItems { node: &self, items: items.iter().enumerate() }).map_err(|fault| self.place(fault))
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, length: usize, visitor: V) -> Result<V::Value, DecodeFault> {
        match &self.node.value {
            Value::List(items) if items.len() == length => self.deserialize_seq(visitor),
            _ => self.wanted(&format!("a list of {length}")),
        }
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeFault> {
        match &self.node.value {
            Value::Map(map) => self.visit_keys(map.keys().collect(), visitor),
            _ => self.wanted("a section with keys"),
        }
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, DecodeFault> {
        self.fields(fields, visitor)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, DecodeFault> {
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
                .map_err(|fault| DecodeFault { hint: Some(did_you_mean(&text, variants.iter().copied())), ..fault });
        }
        visitor.visit_enum(NodeChoice(&text)).map_err(|fault| self.place(fault))
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeFault> {
        visitor.visit_unit()
    }

    serde::forward_to_deserialize_any! {
        i8 i16 i32 i128 u8 u16 u32 u128 f32 char bytes byte_buf unit unit_struct newtype_struct tuple_struct identifier
    }
}

/// The items of a list.
struct NodeItems<'r, 'a> {
    node: &'r NodeDeserializer<'a>,
    items: std::iter::Enumerate<std::slice::Iter<'a, Node>>,
}

impl<'de> SeqAccess<'de> for NodeItems<'_, '_> {
    type Error = DecodeFault;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, DecodeFault> {
        let Some((index, node)) = self.items.next() else { return Ok(None) };
        let path = join(self.node.path, &index.to_string());
        seed.deserialize(self.node.child(&path, node)).map(Some)
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.items.len())
    }
}

/// Some keys of a map, with their values.
struct NodeKeys<'r, 'a> {
    node: &'r NodeDeserializer<'a>,
    keys: std::vec::IntoIter<&'a str>,
    current: &'a str,
}

impl<'de> MapAccess<'de> for NodeKeys<'_, '_> {
    type Error = DecodeFault;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, DecodeFault> {
        let Some(key) = self.keys.next() else { return Ok(None) };
        self.current = key;
        let key: StrDeserializer<DecodeFault> = key.into_deserializer();
        seed.deserialize(key).map(Some)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, DecodeFault> {
        let path = join(self.node.path, self.current);
        match self.node.node.as_map().and_then(|map| map.get(self.current)) {
            Some(node) => seed.deserialize(self.node.child(&path, node)),
            None => Err(DecodeFault::new(format!("the key `{}` is missing", self.current))),
        }
    }
}

/// The name of a choice.
struct NodeChoice<'a>(&'a str);

impl<'de> EnumAccess<'de> for NodeChoice<'_> {
    type Error = DecodeFault;
    type Variant = ChoiceContent;

    fn variant_seed<V: DeserializeSeed<'de>>(self, seed: V) -> Result<(V::Value, ChoiceContent), DecodeFault> {
        let name: StrDeserializer<DecodeFault> = self.0.into_deserializer();
        Ok((seed.deserialize(name)?, ChoiceContent))
    }
}

/// The content of a choice. There is none: choices are plain names.
struct ChoiceContent;

impl<'de> VariantAccess<'de> for ChoiceContent {
    type Error = DecodeFault;

    fn unit_variant(self) -> Result<(), DecodeFault> {
        Ok(())
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, _: T) -> Result<T::Value, DecodeFault> {
        Err(DecodeFault::new("this choice cannot be written as a name alone"))
    }

    fn tuple_variant<V: Visitor<'de>>(self, _: usize, _: V) -> Result<V::Value, DecodeFault> {
        Err(DecodeFault::new("this choice cannot be written as a name alone"))
    }

    fn struct_variant<V: Visitor<'de>>(self, _: &'static [&'static str], _: V) -> Result<V::Value, DecodeFault> {
        Err(DecodeFault::new("this choice cannot be written as a name alone"))
    }
}
