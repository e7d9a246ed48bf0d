//! Limits on the batches of a pass, as Lightning's trainer has them.

use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, Error, Unexpected, Visitor};

/// A part of the batches of a pass: an integer counts batches, a number with a point is a fraction.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum BatchLimit {
    Batches(usize),
    /// From 0 to 1.
    Fraction(f64),
}

impl BatchLimit {
    /// All batches.
    pub const ALL: BatchLimit = BatchLimit::Fraction(1.0);

    /// The number of batches that are left of `batches`. None for a fraction above 0 that leaves no whole batch.
    pub fn of(self, batches: usize) -> Option<usize> {
        match self {
            BatchLimit::Batches(limit) => Some(batches.min(limit)),
            BatchLimit::Fraction(fraction) => {
                let left = (batches as f64 * fraction) as usize;
                (left > 0 || fraction == 0.0 || batches == 0).then_some(left)
            }
        }
    }

    /// Whether no batch is left.
    pub fn is_none(self) -> bool {
        matches!(self, BatchLimit::Batches(0)) || self == BatchLimit::Fraction(0.0)
    }
}

impl fmt::Display for BatchLimit {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            BatchLimit::Batches(limit) => write!(f, "{limit}"),
            BatchLimit::Fraction(fraction) => write!(f, "{fraction:?}"),
        }
    }
}

impl<'de> Deserialize<'de> for BatchLimit {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(BatchLimitVisitor)
    }
}

struct BatchLimitVisitor;

impl Visitor<'_> for BatchLimitVisitor {
    type Value = BatchLimit;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("a number of batches (an integer, at least 0) or a fraction of them (from 0.0 to 1.0)")
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<BatchLimit, E> {
        let limit = usize::try_from(value).map_err(|_| E::invalid_value(Unexpected::Signed(value), &self))?;
        Ok(BatchLimit::Batches(limit))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<BatchLimit, E> {
        match (0.0..=1.0).contains(&value) {
            true => Ok(BatchLimit::Fraction(value)),
            false => Err(E::invalid_value(Unexpected::Float(value), &self)),
        }
    }

    /// null is Lightning's default.
    fn visit_unit<E: Error>(self) -> Result<BatchLimit, E> {
        Ok(BatchLimit::ALL)
    }
}

/// `trainer.fast_dev_run`: a run of so many batches instead of a whole one. None: a whole run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FastDevRun(pub Option<usize>);

impl<'de> Deserialize<'de> for FastDevRun {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(FastDevRunVisitor)
    }
}

struct FastDevRunVisitor;

impl Visitor<'_> for FastDevRunVisitor {
    type Value = FastDevRun;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("true, false or a number of batches")
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<FastDevRun, E> {
        Ok(FastDevRun(value.then_some(1)))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<FastDevRun, E> {
        let batches = usize::try_from(value).map_err(|_| E::invalid_value(Unexpected::Signed(value), &self))?;
        Ok(FastDevRun((batches > 0).then_some(batches)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_count_batches_and_fractions_divide_them() {
        for (limit, batches, left) in [
            (BatchLimit::ALL, 7, Some(7)),
            (BatchLimit::Fraction(0.5), 7, Some(3)),
            (BatchLimit::Fraction(0.1), 7, None),
            (BatchLimit::Fraction(0.0), 7, Some(0)),
            (BatchLimit::Batches(3), 7, Some(3)),
            (BatchLimit::Batches(1), 7, Some(1)),
            (BatchLimit::Batches(9), 7, Some(7)),
            (BatchLimit::Batches(0), 7, Some(0)),
        ] {
            assert_eq!(limit.of(batches), left, "{limit} of {batches}");
        }
    }
}
