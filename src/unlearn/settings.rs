//! Helpers that read a method's settings from the configuration.

use serde::de::DeserializeOwned;

use crate::config::schema::UnlearnConfig;
use crate::error::Result;
use crate::train::Phase;

/// The method's own keys of the configuration group `unlearn`.
pub fn method_settings<T: DeserializeOwned>(config: &UnlearnConfig) -> Result<T> {
    config.method.decode_ignoring(UnlearnConfig::SHARED_KEYS)
}

/// The single phase of most methods: the epochs, optimizer and schedule of the group `unlearn`.
pub fn single_phase(config: &UnlearnConfig) -> Phase {
    Phase {
        name: "unlearn",
        epochs: config.max_epochs,
        optim: config.optim.clone(),
        scheduler: config.scheduler.clone(),
        named_parameters: false,
    }
}

/// Rejects the first of these keys of the group `unlearn` with the value 0.
pub fn check_at_least_one(config: &UnlearnConfig, values: &[(&str, usize)]) -> Result<()> {
    match values.iter().find(|(_, value)| *value == 0) {
        Some((key, _)) => Err(config.method.reject(key, "an integer, at least 1")),
        None => Ok(()),
    }
}

/// Rejects the first of these keys of the group `unlearn` with a value that is negative or not finite.
pub fn check_non_negative(config: &UnlearnConfig, values: &[(&str, f64)]) -> Result<()> {
    check_each(config, values, "a number, at least 0", |value| value >= 0.0)
}

/// Rejects the first of these keys of the group `unlearn` with a value that is not above 0, or not finite.
pub fn check_positive(config: &UnlearnConfig, values: &[(&str, f64)]) -> Result<()> {
    check_each(config, values, "a number above 0", |value| value > 0.0)
}

fn check_each(
    config: &UnlearnConfig,
    values: &[(&str, f64)],
    wanted: &str,
    in_range: impl Fn(f64) -> bool,
) -> Result<()> {
    match values.iter().find(|(_, value)| !(in_range(*value) && value.is_finite())) {
        Some((key, _)) => Err(config.method.reject(key, wanted)),
        None => Ok(()),
    }
}
