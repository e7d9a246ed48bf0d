//! `trainer.devices`: the GPUs of a machine that a run may use.

use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, Error, SeqAccess, Unexpected, Visitor};

use super::forms::parse_integers;

/// The GPUs of each machine that a run may use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DevicesConfig {
    /// `auto`: all.
    Auto,
    /// A number of GPUs. -1 stands for all, and so does the default 1, because then the number of ranks decides.
    Count(i64),
    /// Indices of GPUs, in order of use.
    These(Vec<usize>),
}

impl<'de> Deserialize<'de> for DevicesConfig {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(DevicesVisitor)
    }
}

struct DevicesVisitor;

impl<'de> Visitor<'de> for DevicesVisitor {
    type Value = DevicesConfig;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("`auto`, -1, a number of GPUs, or a list of their indices")
    }

    fn visit_i64<E: Error>(self, count: i64) -> Result<DevicesConfig, E> {
        match count {
            -1 | 1.. => Ok(DevicesConfig::Count(count)),
            _ => Err(E::invalid_value(Unexpected::Signed(count), &self)),
        }
    }

    /// As in Lightning, a text with a comma lists indices (`0,1` or `0,`), and one without is a number of GPUs.
    fn visit_str<E: Error>(self, text: &str) -> Result<DevicesConfig, E> {
        let wrong = || E::invalid_value(Unexpected::Str(text), &self);
        if text.trim() == "auto" {
            return Ok(DevicesConfig::Auto);
        }
        let numbers = parse_integers(text).ok_or_else(wrong)?;
        match numbers.as_slice() {
            [count] if !text.contains([',', '[']) => self.visit_i64(*count),
            indices => {
                let indices = indices.iter().map(|index| usize::try_from(*index).map_err(|_| wrong()));
                indices.collect::<Result<_, E>>().map(DevicesConfig::These)
            }
        }
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<DevicesConfig, A::Error> {
        let mut indices = Vec::new();
        while let Some(index) = items.next_element()? {
            indices.push(index);
        }
        if indices.is_empty() { Err(A::Error::invalid_length(0, &self)) } else { Ok(DevicesConfig::These(indices)) }
    }
}
