//! Arithmetic of `${eval:...}` on integers and floats, with Python's rules. Names and calls are errors.
//!
//! Operators, weakest first: `or`, `and`, `not`, comparisons, `+ -`, `* / // %`, unary `+ -`, `**` (right to left), and
//! parentheses. `/` always gives a float, `//` and `%` round towards minus infinity, an integer power below zero gives
//! a float. The parser is a Pratt parser: each operator has a binding power, and an operand ends before a weaker
//! operator.

mod number;
mod parser;
mod tokens;

pub(super) use parser::evaluate;
