//! The checks that all sections use.

use super::optim::ImpossibleValue;
use crate::error::Result;
use crate::hydra::{Section, join};

/// Checks the values of one configuration. The first failure is the error.
pub(super) struct ConfigChecker<'a> {
    /// The whole tree, which knows the place of each value.
    pub root: &'a Section,
}

impl ConfigChecker<'_> {
    /// Rejects the value at `key` unless `holds`.
    pub fn that(&self, holds: bool, key: &str, wanted: &str) -> Result<()> {
        if holds { Ok(()) } else { Err(self.root.reject(key, wanted)) }
    }

    /// Rejects a number outside [0, 1].
    pub fn fraction(&self, value: f64, key: &str) -> Result<()> {
        self.that((0.0..=1.0).contains(&value), key, "a number from 0 to 1")
    }

    /// Rejects an integer below `least`.
    pub fn at_least(&self, value: impl TryInto<i64>, least: i64, key: &str) -> Result<()> {
        // Only a number too large for i64 fails to convert.
        let holds = value.try_into().map_or(true, |value| value >= least);
        self.that(holds, key, &format!("an integer, at least {least}"))
    }

    /// Rejects the key of the section `path` that `OptimConfig::fault` or `SchedulerConfig::fault` names.
    pub fn section(&self, fault: Option<ImpossibleValue>, path: &str) -> Result<()> {
        fault.map_or(Ok(()), |(key, wanted)| Err(self.root.reject(&join(path, key), wanted)))
    }
}
