//! Arithmetic of `${eval:...}` on integers and floats, with Python's rules. Names and calls are errors.
//!
//! Operators, weakest first: `or`, `and`, `not`, comparisons, `+ -`, `* / // %`, unary `+ -`, `**` (right to left), and
//! parentheses. `/` always gives a float, `//` and `%` round towards minus infinity, an integer power below zero gives a
//! float. The parser is a Pratt parser: each operator has a binding power, and an operand ends before a weaker operator.

use super::float_text::float_text;
use super::node::Value;
use super::scalar;

/// The value of an expression.
///
/// # Errors
/// A message about the first fault in the text.
pub(super) fn evaluate(text: &str) -> Result<Value, String> {
    let mut parser = Parser { tokens: tokens(text)?, pos: 0, depth: 0 };
    let value = parser.expression(0)?;
    match parser.next() {
        None => Ok(match value {
            Number::Bool(value) => Value::Bool(value),
            Number::Int(value) => Value::Int(value),
            Number::Float(value) => Value::Float(value),
        }),
        Some(token) => Err(format!("{} is not expected after a value", token.shown())),
    }
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Number {
    Bool(bool),
    Int(i64),
    Float(f64),
}

impl Number {
    fn float(self) -> f64 {
        match self {
            Number::Bool(value) => f64::from(u8::from(value)),
            Number::Int(value) => value as f64,
            Number::Float(value) => value,
        }
    }

    fn int(self) -> Option<i64> {
        match self {
            Number::Bool(value) => Some(value.into()),
            Number::Int(value) => Some(value),
            Number::Float(_) => None,
        }
    }

    fn truth(self) -> bool {
        self.float() != 0.0
    }
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Token {
    Number(Number),
    Operator(&'static str),
}

impl Token {
    fn shown(self) -> String {
        match self {
            Token::Operator(text) => format!("`{text}`"),
            Token::Number(Number::Bool(value)) => format!("`{value}`"),
            Token::Number(Number::Int(value)) => format!("`{value}`"),
            Token::Number(Number::Float(value)) => format!("`{}`", float_text(value)),
        }
    }
}

/// Longer ones first, so that `**` is not read as two `*`.
const OPERATORS: &[&str] =
    &["**", "//", "==", "!=", "<=", ">=", "<", ">", "+", "-", "*", "/", "%", "(", ")", "and", "or", "not"];

const UNARY_POWER: u8 = 12;
const NOT_POWER: u8 = 5;
const MAX_DEPTH: usize = 100;

/// Left and right binding power; a right one below the left means right to left.
fn binding_power(operator: &str) -> Option<(u8, u8)> {
    Some(match operator {
        "or" => (1, 2),
        "and" => (3, 4),
        "==" | "!=" | "<" | "<=" | ">" | ">=" => (6, 7),
        "+" | "-" => (8, 9),
        "*" | "/" | "//" | "%" => (10, 11),
        "**" => (14, 13),
        _ => return None,
    })
}

fn tokens(text: &str) -> Result<Vec<Token>, String> {
    let mut tokens = Vec::new();
    let mut rest = text.trim_start();
    while let Some(first) = rest.chars().next() {
        let length = if first.is_ascii_digit() || first == '.' {
            let length = number_length(rest);
            let number = match scalar::override_scalar(&rest[..length]) {
                Value::Int(value) => Number::Int(value),
                Value::Float(value) => Number::Float(value),
                _ => return Err(format!("`{}` is not a number", &rest[..length])),
            };
            tokens.push(Token::Number(number));
            length
        } else if first.is_ascii_alphabetic() {
            let length = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(rest.len());
            tokens.push(match &rest[..length] {
                "True" | "true" => Token::Number(Number::Bool(true)),
                "False" | "false" => Token::Number(Number::Bool(false)),
                "inf" => Token::Number(Number::Float(f64::INFINITY)),
                "nan" => Token::Number(Number::Float(f64::NAN)),
                word => match OPERATORS.iter().find(|operator| **operator == word) {
                    Some(operator) => Token::Operator(operator),
                    None => return Err(format!("`{word}` is unknown: only arithmetic on numbers is possible")),
                },
            });
            length
        } else {
            let Some(operator) = OPERATORS.iter().find(|operator| rest.starts_with(**operator)) else {
                return Err(format!("`{first}` is not an operator"));
            };
            tokens.push(Token::Operator(operator));
            operator.len()
        };
        rest = rest[length..].trim_start();
    }
    Ok(tokens)
}

fn number_length(text: &str) -> usize {
    let mut previous = ' ';
    text.find(|c: char| {
        let inside = c.is_ascii_alphanumeric()
            || matches!(c, '.' | '_')
            || (matches!(c, '+' | '-') && matches!(previous, 'e' | 'E'));
        previous = c;
        !inside
    })
    .unwrap_or(text.len())
}

struct Parser {
    tokens: Vec<Token>,
    pos: usize,
    depth: usize,
}

impl Parser {
    fn peek(&self) -> Option<Token> {
        self.tokens.get(self.pos).copied()
    }

    fn next(&mut self) -> Option<Token> {
        let token = self.peek();
        self.pos += 1;
        token
    }

    fn expression(&mut self, min_power: u8) -> Result<Number, String> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err("nested too deeply".into());
        }
        let mut left = self.operand()?;
        while let Some(Token::Operator(operator)) = self.peek() {
            let Some((left_power, right_power)) = binding_power(operator).filter(|power| power.0 >= min_power) else {
                break;
            };
            self.pos += 1;
            let right = self.expression(right_power)?;
            left = binary(operator, left, right)?;
            if left_power == 6
                && matches!(self.peek(), Some(Token::Operator(next)) if binding_power(next) == Some((6, 7)))
            {
                return Err("comparisons cannot be chained".into());
            }
        }
        self.depth -= 1;
        Ok(left)
    }

    fn operand(&mut self) -> Result<Number, String> {
        match self.next() {
            Some(Token::Number(value)) => Ok(value),
            Some(Token::Operator("(")) => {
                let value = self.expression(0)?;
                match self.next() {
                    Some(Token::Operator(")")) => Ok(value),
                    _ => Err("`)` is missing".into()),
                }
            }
            Some(Token::Operator("-")) => match self.expression(UNARY_POWER)? {
                Number::Float(value) => Ok(Number::Float(-value)),
                value => int(value.int().and_then(i64::checked_neg)),
            },
            Some(Token::Operator("+")) => match self.expression(UNARY_POWER)? {
                Number::Bool(value) => Ok(Number::Int(value.into())),
                value => Ok(value),
            },
            Some(Token::Operator("not")) => Ok(Number::Bool(!self.expression(NOT_POWER)?.truth())),
            Some(token) => Err(format!("{} stands where a value is wanted", token.shown())),
            None => Err("a value is missing at the end".into()),
        }
    }
}

fn int(value: Option<i64>) -> Result<Number, String> {
    value.map(Number::Int).ok_or_else(|| "the result does not fit 64 bits".into())
}

fn binary(operator: &str, a: Number, b: Number) -> Result<Number, String> {
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Expression and `repr` of its value in Python.
    const CASES: &[(&str, &str)] = &[
        ("1 - 0.7", "0.30000000000000004"),
        ("1 - 0.8", "0.19999999999999996"),
        ("1-1", "0"),
        ("7 / 2", "3.5"),
        ("4 / 2", "2.0"),
        ("7 // 2", "3"),
        ("-7 // 2", "-4"),
        ("-7 % 3", "2"),
        ("7 % -3", "-2"),
        ("7.5 // 2", "3.0"),
        ("-7.5 % 2", "0.5"),
        ("2 ** 10", "1024"),
        ("2 ** -1", "0.5"),
        ("2 ** 3 ** 2", "512"),
        ("-2 ** 2", "-4"),
        ("(-2) ** 2", "4"),
        ("2 * -3", "-6"),
        ("2 ** -2 * 8", "2.0"),
        ("1e-3 * 5", "0.005"),
        ("1_000 + 1", "1001"),
        ("1 + 2 * 3 - 4 / 2", "5.0"),
        ("not 0", "True"),
        ("1 < 2 and 3.0 == 3", "True"),
        ("0 or 5", "5"),
        ("True + 1", "2"),
        ("+.5", "0.5"),
        ("not 1 == 2", "True"),
    ];

    #[test]
    fn agrees_with_python() {
        for (text, expected) in CASES {
            assert_eq!(evaluate(text).map(|value| value.python_str()), Ok((*expected).to_owned()), "{text}");
        }
    }

    #[test]
    fn refuses_everything_else() {
        let endless = "(".repeat(100_000);
        let bad = [
            "",
            "1 +",
            "1 2",
            "(1",
            "1 / 0",
            "1 % 0",
            "9223372036854775807 + 1",
            "x + 1",
            "__import__('os')",
            "1 < 2 < 3",
        ];
        for text in bad.iter().copied().chain([endless.as_str(), "0 ** -1", "(-8) ** 0.5", "1.2.3"]) {
            assert!(evaluate(text).is_err(), "{text:.20}");
        }
    }
}
