//! Reads Python pickles without executing them, and writes plain ones.
//!
//! A pickle is a program for a small stack machine, and Python's own machine imports and calls whatever the program
//! names. Ours only builds data: names stay names, and what "calling" one means is decided by a [`Dialect`],
//! a closed table of constructors that are known to make data. Any other name that is called is an error, never a
//! call.
//!
//! The input may be hostile. Nothing is allocated for a length that the input has not proven by its bytes; the number
//! of values and the bytes that they unfold to are bounded; and values refer to each other by [`Id`] in one flat
//! [`Heap`], so that deep nesting and cycles cost no stack, neither here nor when they are dropped.
//!
//! Format: CPython's `Lib/pickletools.py`, protocols 0 to 5 (PEP 307, 3154, 574), without the extension registry and
//! without out-of-band buffers.

pub mod constructors;
pub mod numpy;
mod reader;
mod value;
mod vm;
mod writer;

#[cfg(test)]
mod tests;

pub use value::{Global, Heap, Id, Value};
pub use vm::{Dialect, Pickle, load};
pub use writer::Writer;

use crate::error::Error;

/// What cannot be the pickle that it should be.
fn damaged(message: impl Into<String>) -> Error {
    Error::missing(message).hint("the file is damaged, or is not what its name says: fetch or unpack it again")
}
