//! The values of `range(...)`, a sweep of Hydra.

use super::float_text::float_text;
use super::node::Value;

/// `range(stop)`, `range(start, stop)`, `range(start, stop, step)`: the values, without the stop as in Python.
///
/// # Errors
/// A message about wrong arguments, an empty range, or more than 100,000 values.
pub(super) fn sweep_range(arguments: Vec<Value>) -> Result<Vec<String>, String> {
    const MOST: usize = 100_000;
    let wrong = || "wanted range(stop), range(start, stop) or range(start, stop, step) with numbers".to_owned();
    let number = |value: &Value| match value {
        Value::Int(value) => Some(*value as f64),
        Value::Float(value) if value.is_finite() => Some(*value),
        _ => None,
    };
    let is_whole = arguments.iter().all(|value| matches!(value, Value::Int(_)));
    let numbers: Vec<f64> = arguments.iter().map(number).collect::<Option<_>>().ok_or_else(wrong)?;
    let (start, stop, step) = match numbers[..] {
        [stop] => (0.0, stop, 1.0),
        [start, stop] => (start, stop, 1.0),
        [start, stop, step] if step != 0.0 => (start, stop, step),
        _ => return Err(wrong()),
    };
    let inside = |value: f64| if step > 0.0 { value < stop } else { value > stop };
    let values = (0..=MOST).map(|index| start + index as f64 * step).take_while(|value| inside(*value));
    let texts: Vec<String> =
        values.map(|value| if is_whole { (value as i64).to_string() } else { float_text(value) }).collect();
    match texts.len() {
        0 => Err("the range is empty".into()),
        count if count > MOST => Err(format!("the range has more than {MOST} values")),
        _ => Ok(texts),
    }
}
