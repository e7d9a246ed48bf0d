//! A part of the configuration that is read later, by whoever understands it, with errors as exact as at the start.

use std::cell::RefCell;

use serde::de::{Deserialize, DeserializeOwned, Deserializer, Error as _, Visitor};

use super::{Map, Node, Value, decode};
use crate::error::{Error, Result};

/// A subtree that remembers its key and the places where its values were written.
#[derive(Debug, Clone, PartialEq)]
pub struct Section {
    path: String,
    node: Node,
}

impl Section {
    pub(super) fn new(path: impl Into<String>, node: Node) -> Self {
        Section { path: path.into(), node }
    }

    /// The full key, `unlearn.regun` for instance.
    pub fn path(&self) -> &str {
        &self.path
    }

    pub fn node(&self) -> &Node {
        &self.node
    }

    pub fn is_null(&self) -> bool {
        self.node.value == Value::Null
    }

    pub fn get(&self, key: &str) -> Option<Section> {
        self.node.get(key).map(|node| Section::new(super::node::join(&self.path, key), node.clone()))
    }

    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.node.as_map().into_iter().flat_map(Map::keys)
    }

    /// Reads the section. A key that `T` does not have is an error, or a warning where it was added with `+`.
    ///
    /// # Errors
    /// Wrong type, unknown choice, missing or unknown key: each with full key, value, what is wanted, and place.
    pub fn decode<T: DeserializeOwned>(&self) -> Result<T> {
        self.decode_ignoring(&[])
    }

    /// As [`Section::decode`], where the keys in `known` belong to somebody else.
    ///
    /// # Errors
    /// As [`Section::decode`].
    pub fn decode_ignoring<T: DeserializeOwned>(&self, known: &[&str]) -> Result<T> {
        let mut warnings = Vec::new();
        let value = decode::decode(&self.path, &self.node, known, &mut warnings)?;
        for warning in warnings {
            tracing::warn!("{warning}");
        }
        Ok(value)
    }

    /// An error about the value of `key` (empty: of the section itself), for checks that types cannot express.
    /// `wanted` reads like "a number above 0".
    pub fn reject(&self, key: &str, wanted: &str) -> Error {
        super::validate::rejection(&self.path, &self.node, key, wanted)
    }
}

/// Name by which the deserializer knows that a [`Section`] is wanted.
pub(super) const TOKEN: &str = "$regun::Section";

thread_local! {
    /// Serde can hand over only its own data types, so the deserializer leaves the section here for
    /// `Section::deserialize`, which takes it at once.
    static HANDOVER: RefCell<Option<Section>> = const { RefCell::new(None) };
}

pub(super) fn hand_over(section: Section) {
    HANDOVER.with(|slot| *slot.borrow_mut() = Some(section));
}

impl<'de> Deserialize<'de> for Section {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Taken;
        impl Visitor<'_> for Taken {
            type Value = Option<Section>;

            fn expecting(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
                f.write_str("a section of the configuration")
            }

            fn visit_unit<E>(self) -> Result<Self::Value, E> {
                Ok(HANDOVER.with(|slot| slot.borrow_mut().take()))
            }
        }
        deserializer
            .deserialize_newtype_struct(TOKEN, Taken)?
            .ok_or_else(|| D::Error::custom("a section can only be read from a configuration tree"))
    }
}
