//! Metrics as a flat JSON object in their own order.
//!
//! JSON has no NaN and no infinities, and `null` would mean "not measured". NaN and infinities are written as the
//! strings `"nan"`, `"inf"` and `"-inf"`, and read back as numbers.

use crate::error::{Error, Result};
use crate::eval::Metrics;
use serde_json::{Map, Value};

/// Name to value, in the order of `metrics`.
pub fn to_json(metrics: &Metrics) -> Map<String, Value> {
    metrics.iter().map(|(name, value)| (name.to_owned(), number(value))).collect()
}

/// The inverse of [`to_json`].
///
/// # Errors
/// Names the first value that is neither a number nor one of the three strings.
pub fn from_json(object: &Map<String, Value>) -> Result<Metrics> {
    let parse = |(name, value): (&String, &Value)| match read_number(value) {
        Some(number) => Ok((name.clone(), number)),
        None => Err(Error::missing(format!("metric `{name}` is {value}, not a number"))),
    };
    object.iter().map(parse).collect()
}

/// A number, or the name of a value that JSON has no number for.
pub fn number(value: f64) -> Value {
    match serde_json::Number::from_f64(value) {
        Some(number) => Value::Number(number),
        None if value.is_nan() => Value::from("nan"),
        None if value > 0.0 => Value::from("inf"),
        None => Value::from("-inf"),
    }
}

fn read_number(value: &Value) -> Option<f64> {
    match value {
        Value::Number(number) => number.as_f64(),
        Value::String(name) => match name.as_str() {
            "nan" => Some(f64::NAN),
            "inf" => Some(f64::INFINITY),
            "-inf" => Some(f64::NEG_INFINITY),
            _ => None,
        },
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_and_non_finite_values_survive() {
        let metrics = Metrics::from_iter([("z", 0.5), ("a", f64::NAN), ("m", f64::INFINITY), ("b", f64::NEG_INFINITY)]);
        let text = serde_json::to_string(&to_json(&metrics)).unwrap();
        assert_eq!(text, r#"{"z":0.5,"a":"nan","m":"inf","b":"-inf"}"#);
        let again = from_json(&serde_json::from_str(&text).unwrap()).unwrap();
        assert_eq!(serde_json::to_string(&to_json(&again)).unwrap(), text);
    }

    #[test]
    fn a_value_that_is_no_number_is_named() {
        let object = serde_json::from_str(r#"{"a": 1, "rmia_auc": "high"}"#).unwrap();
        assert_eq!(from_json(&object).unwrap_err().message(), "metric `rmia_auc` is \"high\", not a number");
    }
}
