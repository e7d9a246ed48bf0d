//! Reads Python pickles without executing them, and writes plain ones.
//!
//! A pickle is a program for a small stack machine. Python's machine imports and calls any name in the program. This
//! machine only builds data: names stay names, and a call is looked up in a [`Dialect`], a closed table of constructors
//! that are known to make plain data. A call of any other name is an error.
//!
//! The input may be hostile. Memory is allocated only for bytes that the input really has. The number of values and the
//! bytes that they unfold to are bounded. Values refer to each other by [`ValueId`] in one flat [`Heap`], so that deep
//! nesting and cycles need no stack, neither here nor when they are dropped.
//!
//! Format: CPython's `Lib/pickletools.py`, protocols 0 to 5 (PEP 307, 3154, 574), without the extension registry and
//! without out-of-band buffers.
//!
//! | module | holds |
//! | --- | --- |
//! | [`vm`] | the stack machine, and the trait of a dialect |
//! | [`value`] | values and the heap |
//! | [`reader`] | numbers and text in the input |
//! | [`constructors`] | constructors of plain Python data, known in every dialect |
//! | [`numpy`] | the dialect of numpy arrays; PyTorch's is in [`crate::checkpoint::pytorch`] |
//! | [`writer`] | writes pickles |

pub mod constructors;
mod errors;
pub mod numpy;
mod reader;
mod value;
mod vm;
mod writer;

#[cfg(test)]
mod tests;

pub use value::{Global, Heap, PickleValue, ValueId};
pub use vm::{Dialect, Pickle, load};
pub use writer::PickleWriter;
