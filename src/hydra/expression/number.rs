//! Numbers of expressions and Python's arithmetic on them.

/// A value of an expression.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Number {
    Bool(bool),
    Int(i64),
    Float(f64),
}

impl Number {
    /// The value as a float; true is 1.
    pub fn float(self) -> f64 {
        match self {
            Number::Bool(value) => f64::from(u8::from(value)),
            Number::Int(value) => value as f64,
            Number::Float(value) => value,
        }
    }

    /// The value as an integer. None for floats.
    pub fn int(self) -> Option<i64> {
        match self {
            Number::Bool(value) => Some(value.into()),
            Number::Int(value) => Some(value),
            Number::Float(_) => None,
        }
    }

    /// Python's truth value.
    pub fn truth(self) -> bool {
        self.float() != 0.0
    }
}

/// The integer `value`.
///
/// # Errors
/// A message if it is None, the result of an overflow.
pub(super) fn int(value: Option<i64>) -> Result<Number, String> {
    value.map(Number::Int).ok_or_else(|| "the result does not fit 64 bits".into())
}

/// The value of `a operator b`.
///
/// # Errors
/// A message: an overflow of 64 bits, a division by zero, a power without a real value.
pub(super) fn binary(operator: &str, a: Number, b: Number) -> Result<Number, String> {
    let (x, y) = (a.float(), b.float());
    let ints = a.int().zip(b.int());
    let is_zero = matches!(operator, "/" | "//" | "%") && y == 0.0;
    if is_zero {
        return Err("division by zero".into());
    }
    let arithmetic = |exact: fn(i64, i64) -> Option<i64>, real: fn(f64, f64) -> f64| match ints {
        Some((a, b)) => int(exact(a, b)),
        None => Ok(Number::Float(real(x, y))),
    };
    match operator {
        "or" => Ok(if a.truth() { a } else { b }),
        "and" => Ok(if a.truth() { b } else { a }),
        "==" => Ok(Number::Bool(ints.map_or(x == y, |(a, b)| a == b))),
        "!=" => Ok(Number::Bool(ints.map_or(x != y, |(a, b)| a != b))),
        "<" => Ok(Number::Bool(ints.map_or(x < y, |(a, b)| a < b))),
        "<=" => Ok(Number::Bool(ints.map_or(x <= y, |(a, b)| a <= b))),
        ">" => Ok(Number::Bool(ints.map_or(x > y, |(a, b)| a > b))),
        ">=" => Ok(Number::Bool(ints.map_or(x >= y, |(a, b)| a >= b))),
        "+" => arithmetic(i64::checked_add, |x, y| x + y),
        "-" => arithmetic(i64::checked_sub, |x, y| x - y),
        "*" => arithmetic(i64::checked_mul, |x, y| x * y),
        "/" => Ok(Number::Float(x / y)),
        "//" => arithmetic(floor_div, |x, y| (x - floor_mod(x, y)) / y),
        "%" => arithmetic(|a, b| a.checked_sub(floor_div(a, b)?.checked_mul(b)?), floor_mod),
        _ => power(a, b),
    }
}

fn floor_div(a: i64, b: i64) -> Option<i64> {
    let quotient = a.checked_div(b)?;
    if a % b != 0 && (a < 0) != (b < 0) { quotient.checked_sub(1) } else { Some(quotient) }
}

/// Remainder with the sign of the divisor.
fn floor_mod(x: f64, y: f64) -> f64 {
    let remainder = x % y;
    if remainder != 0.0 && (remainder < 0.0) != (y < 0.0) { remainder + y } else { remainder }
}

fn power(a: Number, b: Number) -> Result<Number, String> {
    if let Some((base, exponent)) = a.int().zip(b.int())
        && exponent >= 0
    {
        return int(u32::try_from(exponent).ok().and_then(|exponent| base.checked_pow(exponent)));
    }
    let (x, y) = (a.float(), b.float());
    if x == 0.0 && y < 0.0 {
        return Err("zero cannot be raised to a negative power".into());
    }
    if x < 0.0 && y.is_finite() && y.fract() != 0.0 {
        return Err("a negative number has no real fractional power".into());
    }
    Ok(Number::Float(x.powf(y)))
}
