//! Values with several ways of writing them: for `#[serde(deserialize_with)]`.

use std::fmt;
use std::path::PathBuf;

use serde::Deserialize;
use serde::de::{Deserializer, Error, SeqAccess, Unexpected, Visitor};

use crate::home;

/// A path. `~` and `$HOME` at its head are the home folder.
pub(super) fn path<'de, D: Deserializer<'de>>(deserializer: D) -> Result<PathBuf, D::Error> {
    PathBuf::deserialize(deserializer).map(|path| home::expand(&path))
}

/// Like [`path`], or null.
pub(super) fn optional_path<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<PathBuf>, D::Error> {
    let path: Option<PathBuf> = Option::deserialize(deserializer)?;
    Ok(path.map(|path| home::expand(&path)))
}

/// A number, or null. 0 means null, as in Lightning.
pub(super) fn number_or_off<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<f64>, D::Error> {
    let number: Option<f64> = Option::deserialize(deserializer)?;
    Ok(number.filter(|number| *number != 0.0))
}

/// A number of epochs.
pub(super) fn epochs<'de, D: Deserializer<'de>>(deserializer: D) -> Result<usize, D::Error> {
    deserializer.deserialize_any(EpochsVisitor)
}

struct EpochsVisitor;

impl Visitor<'_> for EpochsVisitor {
    type Value = usize;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(
            "a number of epochs, an integer, at least 0 (Lightning's -1, training without end, is not supported)",
        )
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<usize, E> {
        usize::try_from(value).map_err(|_| E::invalid_value(Unexpected::Signed(value), &self))
    }
}

/// A list of integers. A single one is a list, too, and so is the text `3,5` or `[3, 5]`.
pub(super) fn integers<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<i64>, D::Error> {
    deserializer.deserialize_any(IntegersVisitor)
}

/// Like [`integers`], or null.
pub(super) fn optional_integers<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Vec<i64>>, D::Error> {
    struct Integers(Vec<i64>);
    impl<'de> Deserialize<'de> for Integers {
        fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            integers(deserializer).map(Integers)
        }
    }
    let list: Option<Integers> = Option::deserialize(deserializer)?;
    Ok(list.map(|list| list.0))
}

/// Integers separated by commas, with or without brackets. A comma may stand at the end. None for other text.
pub(super) fn parse_integers(text: &str) -> Option<Vec<i64>> {
    let text = text.trim();
    let inner = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    let inner = inner.trim_end().strip_suffix(',').unwrap_or(inner);
    inner.split(',').map(|number| number.trim().parse().ok()).collect()
}

struct IntegersVisitor;

impl<'de> Visitor<'de> for IntegersVisitor {
    type Value = Vec<i64>;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("a list of integers")
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Vec<i64>, E> {
        Ok(vec![value])
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Vec<i64>, E> {
        parse_integers(text).ok_or_else(|| E::invalid_value(Unexpected::Str(text), &self))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Vec<i64>, A::Error> {
        let mut values = Vec::new();
        while let Some(value) = items.next_element()? {
            values.push(value);
        }
        Ok(values)
    }
}
