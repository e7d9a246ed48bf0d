//! Reads Python pickles without executing them, and writes plain ones.
//!
//! A pickle is a program for a small stack machine. Python's machine imports and calls any name in the program. This
//! machine only builds data: names stay names. A call of a known constructor makes a plain value. A call of any other
//! name makes a [`Record`] of the name, its arguments and its state, so that a file can be read whatever else it holds.
//! A call of a name that would act on the machine (`os.system`, `eval`) is an error, because no honest file has one.
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
//! | [`vm`] | the stack machine |
//! | [`dialect`] | the trait of a dialect: names that only some pickles have |
//! | [`call`] | calls: to a known constructor, a dialect, or a record |
//! | [`effects`] | names that would act on the machine |
//! | [`value`] | values, records and the heap |
//! | [`reader`] | numbers and text in the input |
//! | [`constructors`] | constructors of plain Python data |
//! | [`array`], [`numpy`] | numpy's values; PyTorch's tensors are in [`crate::checkpoint::pytorch`] |
//! | [`writer`] | writes pickles |

mod array;
mod call;
mod constructors;
mod dialect;
mod effects;
mod errors;
mod numpy;
mod reader;
mod value;
mod vm;
mod writer;

#[cfg(test)]
mod tests;

pub use array::{NumpyArray, NumpyDtype, NumpyObject};
pub use dialect::{Dialect, PlainDialect};
pub use value::{Global, Heap, PickleValue, Record, ValueId};
pub use vm::{Pickle, load};
pub use writer::PickleWriter;
