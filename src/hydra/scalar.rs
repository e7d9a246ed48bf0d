//! Types of plain text: YAML scalars and override values follow different rules.
//!
//! YAML follows PyYAML (YAML 1.1) with OmegaConf's additions: `yes` is a bool, `017` is octal, `1:30` is 90 (base 60),
//! `inf` is text, `1e5` is a float, dates stay text. Overrides follow Hydra's grammar: `yes`, `017` and `1:30` are
//! text, `inf` and `nan` are floats. An integer that does not fit 64 bits stays text, so that a later error shows it.

use super::node::Value;

/// The value of a plain (unquoted) YAML scalar.
pub fn yaml_scalar(text: &str) -> Value {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Value::Null,
        "yes" | "Yes" | "YES" | "true" | "True" | "TRUE" | "on" | "On" | "ON" => return Value::Bool(true),
        "no" | "No" | "NO" | "false" | "False" | "FALSE" | "off" | "Off" | "OFF" => return Value::Bool(false),
        ".nan" | ".NaN" | ".NAN" => return Value::Float(f64::NAN),
        _ => {}
    }
    let (sign, unsigned) = split_sign(text);
    if matches!(unsigned, ".inf" | ".Inf" | ".INF") {
        return Value::Float(sign * f64::INFINITY);
    }
    yaml_float(text, sign, unsigned)
        .map(Value::Float)
        .or_else(|| yaml_int(sign, unsigned).map(Value::Int))
        .unwrap_or_else(|| Value::Str(text.into()))
}

/// The value of an unquoted override value (or interpolation argument) without escapes.
pub fn override_scalar(text: &str) -> Value {
    let lower = text.to_ascii_lowercase();
    match lower.as_str() {
        "null" => return Value::Null,
        "true" => return Value::Bool(true),
        "false" => return Value::Bool(false),
        _ => {}
    }
    let (sign, unsigned) = split_sign(&lower);
    match unsigned {
        "inf" => return Value::Float(sign * f64::INFINITY),
        "nan" => return Value::Float(f64::NAN),
        _ => {}
    }
    if is_unpadded_int(unsigned) {
        return match lower.replace('_', "").parse() {
            Ok(value) => Value::Int(value),
            Err(_) => Value::Str(text.into()),
        };
    }
    match is_override_float(unsigned).then(|| lower.replace('_', "").parse()) {
        Some(Ok(value)) => Value::Float(value),
        _ => Value::Str(text.into()),
    }
}

fn split_sign(text: &str) -> (f64, &str) {
    match text.as_bytes().first() {
        Some(b'-') => (-1.0, &text[1..]),
        Some(b'+') => (1.0, &text[1..]),
        _ => (1.0, text),
    }
}

fn all(text: &str, allowed: impl Fn(u8) -> bool) -> bool {
    text.bytes().all(allowed)
}

fn is_digits(text: &str) -> bool {
    !text.is_empty() && all(text, |byte| byte.is_ascii_digit())
}

/// Digits with single underscores between them, starting with a digit.
fn is_grouped_digits(text: &str) -> bool {
    !text.is_empty() && text.split('_').all(is_digits)
}

/// Digits and underscores, starting with a digit.
fn is_loose_digits(text: &str) -> bool {
    text.as_bytes().first().is_some_and(u8::is_ascii_digit) && all(text, |byte| byte.is_ascii_digit() || byte == b'_')
}

/// `0`, or grouped digits without a leading zero: an integer of the override grammar.
fn is_unpadded_int(text: &str) -> bool {
    text == "0" || (is_grouped_digits(text) && !text.starts_with('0'))
}

fn is_override_float(unsigned: &str) -> bool {
    let is_point_float = |text: &str| match text.split_once('.') {
        Some((whole, "")) => is_unpadded_int(whole),
        Some((whole, fraction)) => (whole.is_empty() || is_unpadded_int(whole)) && is_grouped_digits(fraction),
        None => false,
    };
    match unsigned.split_once('e') {
        Some((mantissa, exponent)) => {
            (is_unpadded_int(mantissa) || is_point_float(mantissa)) && is_grouped_digits(split_sign(exponent).1)
        }
        None => is_point_float(unsigned),
    }
}

fn yaml_float(text: &str, sign: f64, unsigned: &str) -> Option<f64> {
    if let Some((clock, fraction)) = unsigned.split_once('.')
        && clock.contains(':')
        && all(fraction, |byte| byte.is_ascii_digit() || byte == b'_')
    {
        let whole = sexagesimal(clock)?;
        let fraction: f64 = format!("0.{}", fraction.replace('_', "")).parse().ok()?;
        return Some(sign * (whole as f64 + fraction));
    }
    let (mantissa, exponent) = match unsigned.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, Some(exponent)),
        None => (unsigned, None),
    };
    if let Some(exponent) = exponent
        && !is_digits(split_sign(exponent).1)
    {
        return None;
    }
    let matches = match mantissa.split_once('.') {
        // PyYAML: a number that starts with its point has no sign, but its exponent must have one.
        Some(("", fraction)) => {
            is_loose_digits(fraction)
                && text.starts_with('.')
                && exponent.is_none_or(|exponent| exponent.starts_with(['+', '-']))
        }
        Some((whole, fraction)) => {
            let is_signed = exponent.is_none_or(|exponent| exponent.starts_with(['+', '-']));
            let is_whole = if is_signed { is_loose_digits(whole) } else { is_grouped_digits(whole) };
            is_whole && all(fraction, |byte| byte.is_ascii_digit() || byte == b'_')
        }
        None => exponent.is_some() && is_grouped_digits(mantissa),
    };
    if !matches {
        return None;
    }
    unsigned.replace('_', "").to_ascii_lowercase().parse::<f64>().ok().map(|value| sign * value)
}

fn yaml_int(sign: f64, unsigned: &str) -> Option<i64> {
    let digits = unsigned.replace('_', "");
    let magnitude = if let Some(binary) = unsigned.strip_prefix("0b") {
        all(binary, |byte| matches!(byte, b'0' | b'1' | b'_')).then(|| i128::from_str_radix(&digits[2..], 2).ok())?
    } else if let Some(hex) = unsigned.strip_prefix("0x") {
        all(hex, |byte| byte.is_ascii_hexdigit() || byte == b'_')
            .then(|| i128::from_str_radix(&digits[2..], 16).ok())?
    } else if unsigned.contains(':') {
        (!unsigned.starts_with('0')).then(|| sexagesimal(unsigned))?
    } else if !is_loose_digits(unsigned) {
        None
    } else if unsigned.starts_with('0') {
        i128::from_str_radix(&digits, 8).ok()
    } else {
        digits.parse().ok()
    }?;
    i64::try_from(if sign < 0.0 { -magnitude } else { magnitude }).ok()
}

/// A base-60 number such as `12:30:05`. The places after the first have one or two digits and are below 60.
fn sexagesimal(text: &str) -> Option<i128> {
    let (first, rest) = text.split_once(':')?;
    if !is_loose_digits(first) {
        return None;
    }
    rest.split(':').try_fold(first.replace('_', "").parse::<i128>().ok()?, |total, place| {
        let value: i128 = place.parse().ok().filter(|_| is_digits(place) && place.len() <= 2)?;
        (value < 60).then(|| total.checked_mul(60)?.checked_add(value))?
    })
}
