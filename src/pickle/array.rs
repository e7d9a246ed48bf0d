//! Arrays and dtypes of numpy.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

/// An element type without fields.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NumpyDtype {
    /// One of `b i u f c`.
    pub kind: char,
    /// Bytes of one element.
    pub size: usize,
    /// The most significant byte comes first.
    pub big_endian: bool,
}

impl NumpyDtype {
    pub const U8: NumpyDtype = NumpyDtype { kind: 'u', size: 1, big_endian: false };
}

impl fmt::Display for NumpyDtype {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let order = if self.big_endian { ">" } else { "" };
        write!(f, "{order}{}{}", self.kind, self.size)
    }
}

/// An array. The number of its bytes matches its shape and dtype.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NumpyArray {
    pub dtype: NumpyDtype,
    pub shape: Vec<usize>,
    pub(super) bytes: Arc<[u8]>,
    /// The first index varies fastest.
    pub(super) fortran: bool,
}

impl NumpyArray {
    /// The bytes of the elements, with the last index varying fastest.
    pub fn row_major(&self) -> Cow<'_, [u8]> {
        if !self.fortran {
            return Cow::Borrowed(&self.bytes);
        }
        let mut rows = Vec::with_capacity(self.bytes.len());
        let mut index = vec![0; self.shape.len()];
        while rows.len() < self.bytes.len() {
            let offset = index.iter().zip(&self.shape).rev().fold(0, |offset, (i, n)| offset * n + i);
            rows.extend_from_slice(&self.bytes[offset * self.dtype.size..][..self.dtype.size]);
            for (i, n) in index.iter_mut().zip(&self.shape).rev() {
                *i += 1;
                if *i < *n {
                    break;
                }
                *i = 0;
            }
        }
        Cow::Owned(rows)
    }
}

/// A value of numpy.
#[derive(Debug, Clone)]
pub enum NumpyObject {
    Dtype(NumpyDtype),
    /// An array before its state is set.
    Blank,
    Array(NumpyArray),
}
