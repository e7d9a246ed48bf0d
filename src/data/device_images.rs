//! Images with their labels as tensors.

use tch::{Device, Tensor};

use super::images::Images;
use crate::error::Result;
use crate::torch::SharedTensor;

/// Images with their labels on the rank's device. The pixels stay in host memory if they do not fit on the device. They
/// are uint8, unless they are network input already.
pub struct DeviceImages {
    /// [N, C, H, W]. In host memory they may be a mapped file.
    pub(super) pixels: SharedTensor,
    /// int64 [N] on the rank's device.
    pub(super) labels: Tensor,
    host_labels: Vec<i64>,
}

impl DeviceImages {
    /// `pixels` [N, C, H, W], one label per image.
    pub fn new(pixels: Tensor, labels: Vec<i64>) -> Self {
        DeviceImages {
            labels: Tensor::from_slice(&labels).to_device(pixels.device()),
            pixels: pixels.into(),
            host_labels: labels,
        }
    }

    /// Moves the pixels to `pixels_on` and the labels to `device`. If `pixels_on` is the CPU, the tensor shares the
    /// memory of `images`.
    pub(super) fn place(images: &Images, pixels_on: Device, device: Device) -> Result<Self> {
        let shape = [images.labels.len(), images.channels, images.height, images.width].map(|side| side as i64);
        Ok(DeviceImages {
            pixels: SharedTensor::over(images.pixels.clone(), &shape)?.to_device(pixels_on)?,
            labels: Tensor::from_slice(&images.labels).f_to_device(device)?,
            host_labels: images.labels.clone(),
        })
    }

    /// Device whose memory holds the pixels.
    pub fn pixel_device(&self) -> Device {
        self.pixels.device()
    }

    /// N labels, in host memory.
    pub fn labels(&self) -> &[i64] {
        &self.host_labels
    }
}
