//! The error type of the deserializer.

use std::fmt;

use serde::de::{self, Expected, Unexpected};

/// A value that does not fit its type.
#[derive(Debug)]
pub(super) struct DecodeFault {
    pub message: String,
    pub hint: Option<String>,
    /// The message already names key and place.
    pub placed: bool,
}

impl DecodeFault {
    pub fn new(message: impl Into<String>) -> Self {
        DecodeFault { message: message.into(), hint: None, placed: false }
    }
}

impl fmt::Display for DecodeFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for DecodeFault {}

impl de::Error for DecodeFault {
    fn custom<T: fmt::Display>(message: T) -> Self {
        DecodeFault::new(message.to_string())
    }

    fn invalid_type(_: Unexpected, wanted: &dyn Expected) -> Self {
        DecodeFault::new(format!("wanted {wanted}"))
    }

    fn invalid_value(_: Unexpected, wanted: &dyn Expected) -> Self {
        DecodeFault::new(format!("wanted {wanted}"))
    }

    fn invalid_length(_: usize, wanted: &dyn Expected) -> Self {
        DecodeFault::new(format!("wanted {wanted}"))
    }

    fn missing_field(field: &'static str) -> Self {
        DecodeFault::new(format!("the key `{field}` is missing"))
    }
}
