//! A learned parameter: before it has a position in the flat buffers, and with one.

use tch::Tensor;

use crate::error::Result;
use crate::models::Slot;
use crate::torch;

/// A learned parameter without a position.
#[derive(Debug, Clone)]
pub struct ParamSpec {
    pub slot: Slot,
    pub name: String,
    pub size: Vec<i64>,
    pub weight_decay: f64,
}

/// A learned parameter with its position in the flat buffers.
#[derive(Debug, Clone, PartialEq)]
pub struct Param {
    pub slot: Slot,
    pub name: String,
    pub size: Vec<i64>,
    /// Index of its buffer.
    pub group: usize,
    /// Index of its first element in that buffer.
    pub offset: i64,
    /// Index of its bucket.
    pub bucket: usize,
}

impl Param {
    pub fn num_elements(&self) -> i64 {
        self.size.iter().product()
    }

    /// This parameter's part of a flat buffer, with the shape and strides of the parameter.
    pub fn view(&self, buffer: &Tensor) -> Result<Tensor> {
        Ok(buffer.f_as_strided(&self.size, torch::dense_strides(&self.size), self.offset)?)
    }
}
