//! Printing results on standard output.

use std::io::{ErrorKind, Write};

use serde_json::Value;

use crate::error::{Error, Result};

/// Prints a result. A closed pipe or a full disk is an error, not a panic.
pub fn print(text: &str) -> Result<()> {
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).map_err(|source| {
        let error = Error::storage("cannot write to", "standard output".as_ref(), &source);
        match source.kind() {
            ErrorKind::BrokenPipe => error.hint("the program that reads the output ended before all of it was written"),
            _ => error,
        }
    })
}

/// Prints a result as one JSON object on a line.
pub fn print_json(value: &Value) -> Result<()> {
    print(&format!("{value}\n"))
}
