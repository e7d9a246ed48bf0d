//! The tokens of an expression.

use super::number::Number;
use crate::hydra::float_text::float_text;
use crate::hydra::node::Value;
use crate::hydra::scalar;

/// A number, an operator or a parenthesis.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Token {
    Number(Number),
    Operator(&'static str),
}

impl Token {
    /// The token in an error message.
    pub fn shown(self) -> String {
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

/// The tokens of an expression.
///
/// # Errors
/// A message about text that is neither a number nor an operator.
pub(super) fn tokens(text: &str) -> Result<Vec<Token>, String> {
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
