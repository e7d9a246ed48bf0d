//! Tensors as row-major bytes, and the checksum over them.

use std::borrow::Cow;

use safetensors::{Dtype, View};
use sha2::{Digest, Sha256};
use tch::{Kind, Tensor};

use crate::digest::hex;
use crate::error::{Error, ErrorKind, Result};

/// SHA-256 (hex) of names, dtypes, shapes and bytes of these tensors: the checksum that [`save`](super::save) writes.
pub fn fingerprint<'a>(tensors: impl Iterator<Item = (&'a str, &'a Tensor)>) -> Result<String> {
    let tensors = tensors.map(|(name, tensor)| Ok((name, TensorBytes::of(tensor)?))).collect::<Result<Vec<_>>>()?;
    Ok(checksum(tensors.iter().map(|(name, bytes)| (*name, bytes.dtype, &*bytes.shape, &*bytes.data))))
}

/// SHA-256 (hex) over (name, dtype, shape, bytes) of the tensors, in the order of their names.
pub(super) fn checksum<'a>(tensors: impl Iterator<Item = (&'a str, Dtype, &'a [usize], &'a [u8])>) -> String {
    let mut sorted: Vec<_> = tensors.collect();
    sorted.sort_by_key(|(name, ..)| *name);
    let mut hash = Sha256::new();
    for (name, dtype, shape, data) in sorted {
        hash.update(format!("{name}:{dtype:?}:{shape:?}:"));
        hash.update(data);
    }
    hex(&hash.finalize())
}

/// The row-major bytes of a tensor, as safetensors stores them.
pub(super) struct TensorBytes {
    pub dtype: Dtype,
    pub shape: Vec<usize>,
    pub data: Vec<u8>,
}

impl TensorBytes {
    /// The bytes of a tensor of any memory layout and device.
    ///
    /// # Errors
    /// A bug for a dtype that is not in [`DTYPES`].
    pub fn of(tensor: &Tensor) -> Result<Self> {
        let tensor = tensor.detach().to_device(tch::Device::Cpu).contiguous();
        let dtype = dtype_of(tensor.kind()).ok_or_else(|| {
            Error::new(ErrorKind::Bug, format!("a tensor of kind {:?} cannot be saved", tensor.kind()))
        })?;
        let mut data = vec![0; tensor.numel() * tensor.kind().elt_size_in_bytes()];
        tensor.f_copy_data_u8(&mut data, tensor.numel())?;
        Ok(TensorBytes { dtype, shape: tensor.size().iter().map(|&side| side as usize).collect(), data })
    }
}

impl View for TensorBytes {
    fn dtype(&self) -> Dtype {
        self.dtype
    }

    fn shape(&self) -> &[usize] {
        &self.shape
    }

    fn data(&self) -> Cow<'_, [u8]> {
        Cow::Borrowed(&self.data)
    }

    fn data_len(&self) -> usize {
        self.data.len()
    }
}

/// The dtypes of libtorch that a checkpoint may hold, and those of safetensors.
const DTYPES: &[(Kind, Dtype)] = &[
    (Kind::Float, Dtype::F32),
    (Kind::Double, Dtype::F64),
    (Kind::Half, Dtype::F16),
    (Kind::BFloat16, Dtype::BF16),
    (Kind::Int64, Dtype::I64),
    (Kind::Int, Dtype::I32),
    (Kind::Int16, Dtype::I16),
    (Kind::Int8, Dtype::I8),
    (Kind::Uint8, Dtype::U8),
    (Kind::Bool, Dtype::BOOL),
];

fn dtype_of(kind: Kind) -> Option<Dtype> {
    DTYPES.iter().find(|(ours, _)| *ours == kind).map(|(_, theirs)| *theirs)
}

pub(super) fn kind_of(dtype: Dtype) -> Option<Kind> {
    DTYPES.iter().find(|(_, theirs)| *theirs == dtype).map(|(ours, _)| *ours)
}
