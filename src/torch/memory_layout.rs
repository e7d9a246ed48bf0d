//! Memory layout: channels last for images and activations, strides of dense tensors.

use tch::Tensor;

use crate::error::Result;

/// `tensor` (N, C, H, W) with the channels innermost in memory: strides (HWC, 1, WC, C). A tensor that already has this
/// layout is returned without a copy.
pub fn to_channels_last(tensor: &Tensor) -> Result<Tensor> {
    Ok(tensor.f_permute([0, 2, 3, 1])?.f_contiguous()?.f_permute([0, 3, 1, 2])?)
}

/// Whether `tensor` (N, C, H, W) has the channels innermost in memory, without gaps. Strides of dimensions of length 1
/// do not matter.
pub fn is_channels_last(tensor: &Tensor) -> bool {
    let (size, stride) = (tensor.size(), tensor.stride());
    let dense = |wanted: &[i64]| size.iter().zip(&stride).zip(wanted).all(|((n, got), want)| *n == 1 || got == want);
    size.len() == 4 && dense(&channels_last_strides(&size))
}

/// Strides of a dense tensor of shape `size`: channels last for four dimensions, row-major otherwise.
pub fn dense_strides(size: &[i64]) -> Vec<i64> {
    if size.len() == 4 {
        return channels_last_strides(size);
    }
    let mut strides = vec![1; size.len()];
    for d in (1..size.len()).rev() {
        strides[d - 1] = strides[d] * size[d];
    }
    strides
}

fn channels_last_strides(size: &[i64]) -> Vec<i64> {
    let (c, h, w) = (size[1], size[2], size[3]);
    vec![h * w * c, 1, w * c, c]
}

#[cfg(test)]
mod tests {
    use tch::{Device, Kind};

    use super::*;

    fn zeros(size: &[i64]) -> Tensor {
        Tensor::zeros(size, (Kind::Float, Device::Cpu))
    }

    #[test]
    fn strides_tell_whether_a_tensor_is_channels_last() {
        let x = Tensor::arange(2 * 3 * 4 * 5, (Kind::Float, Device::Cpu)).reshape([2, 3, 4, 5]);
        let y = to_channels_last(&x).unwrap();
        assert_eq!(x, y);
        assert!(!is_channels_last(&x) && is_channels_last(&y));
        assert_eq!(y.stride(), dense_strides(&[2, 3, 4, 5]));
        assert_eq!(to_channels_last(&y).unwrap().data_ptr(), y.data_ptr());
        assert!(is_channels_last(&zeros(&[2, 3, 1, 1])) && is_channels_last(&zeros(&[2, 1, 4, 5])));
        assert!(!is_channels_last(&zeros(&[2, 3])));
        assert_eq!(dense_strides(&[2, 3, 4]), [12, 4, 1]);
    }
}
