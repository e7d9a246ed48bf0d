//! The parser of expressions.

use super::number::{Number, binary, int};
use super::tokens::{Token, tokens};
use crate::hydra::node::Value;

/// The value of an expression.
///
/// # Errors
/// A message about the first fault in the text.
pub(in crate::hydra) fn evaluate(text: &str) -> Result<Value, String> {
    let mut parser = ExpressionParser { tokens: tokens(text)?, pos: 0, depth: 0 };
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

const UNARY_POWER: u8 = 12;
const NOT_POWER: u8 = 5;
const MAX_DEPTH: usize = 100;

/// Left and right binding power of an operator. If the right one is lower, the operator groups right to left.
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

struct ExpressionParser {
    tokens: Vec<Token>,
    pos: usize,
    depth: usize,
}

impl ExpressionParser {
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
