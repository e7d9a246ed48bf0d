//! The layout of the flat buffers: the position of each parameter, the lengths of the buffers, and the buckets.
//!
//! The layout is a pure function of the sizes of the parameters, so all ranks have the same layout.

use tch::{Device, Kind, Tensor};

use super::buckets::{Bucket, BucketSizes, assign_buckets};
use super::param::{Param, ParamSpec};
use crate::error::Result;

/// Each parameter starts at a multiple of this number of elements (64 bytes of float32), so kernels read aligned
/// memory. The gaps hold zeros in parameters, gradients and moments, and no update changes them.
const ALIGNMENT: usize = 16;

/// Positions of all learned parameters, lengths of the buffers, and buckets.
#[derive(Debug, Clone, PartialEq)]
pub struct FlatLayout {
    params: Vec<Param>,
    /// Weight decay and length of each buffer, in the order in which the weight decays first occur.
    buffers: Vec<(f64, i64)>,
    buckets: Vec<Bucket>,
}

impl FlatLayout {
    /// A layout for parameters in layout order of the state, whose elements have `element_bytes` bytes.
    pub fn new(specs: Vec<ParamSpec>, element_bytes: usize, sizes: BucketSizes) -> Self {
        let mut buffers: Vec<(f64, i64)> = Vec::new();
        let mut params: Vec<Param> = Vec::with_capacity(specs.len());
        for ParamSpec { slot, name, size, weight_decay } in specs {
            let known = buffers.iter().position(|(decay, _)| *decay == weight_decay);
            let group = known.unwrap_or_else(|| {
                buffers.push((weight_decay, 0));
                buffers.len() - 1
            });
            let param = Param { slot, name, size, group, offset: buffers[group].1, bucket: 0 };
            buffers[group].1 += (param.num_elements() as usize).next_multiple_of(ALIGNMENT) as i64;
            params.push(param);
        }
        let buckets = assign_buckets(&mut params, &buffers, element_bytes, sizes);
        FlatLayout { params, buffers, buckets }
    }

    /// All parameters, in layout order of the state.
    pub fn params(&self) -> &[Param] {
        &self.params
    }

    /// Weight decay and length of each buffer.
    pub fn buffers(&self) -> &[(f64, i64)] {
        &self.buffers
    }

    /// All buckets, in the order of their all-reduces.
    pub fn buckets(&self) -> &[Bucket] {
        &self.buckets
    }

    /// New flat buffers of zeros, one for each weight decay.
    pub fn zeros(&self, options: (Kind, Device)) -> Result<Vec<Tensor>> {
        self.buffers.iter().map(|(_, len)| Ok(Tensor::f_zeros([*len], options)?)).collect()
    }
}
