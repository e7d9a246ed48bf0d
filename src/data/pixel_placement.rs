//! Decides if the images of a run live on its device or in host memory. The decision compares their bytes with the free
//! memory, before any memory runs out.

use tch::Device;

use super::images::Images;
use super::pixels::Pixels;
use crate::error::Result;
use crate::memory::{HostMemory, gib};
use crate::torch::{device_name, free_device_memory};

/// Chooses the device for the pixels of `sets` on a rank that computes on `device`: that device, or the CPU. If memory
/// is short, a message explains the cost.
pub fn choose_pixel_device(sets: &[&Images], device: Device) -> Result<Device> {
    let bytes: u64 = sets.iter().map(|images| images.pixels.len() as u64).sum();
    if let Some(free) = free_device_memory(device)? {
        if fits_beside_training(bytes, free) {
            return Ok(device);
        }
        tracing::info!(
            "the images take {:.1} GiB, more than half of the {:.1} GiB that are free on {}: they stay in host \
             memory, and each batch is uploaded on its own",
            gib(bytes),
            gib(free),
            device_name(device)
        );
    }
    let is_mapped = sets.iter().any(|images| matches!(images.pixels, Pixels::Mapped(_)));
    if let Some(memory) = HostMemory::now().filter(|memory| is_mapped && bytes > memory.available) {
        tracing::warn!(
            "the packed images take {:.1} GiB and {:.1} GiB of memory are available: the system reads them from disk \
             again and again, which is slow",
            gib(bytes),
            gib(memory.available)
        );
    }
    Ok(Device::Cpu)
}

/// True if the images take at most half of the free memory. The other half is for the model, its activations and its
/// optimizer.
fn fits_beside_training(bytes: u64, free: u64) -> bool {
    bytes <= free / 2
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_may_take_half_of_the_free_memory() {
        let tiny_imagenet = 110_000 * 3 * 64 * 64;
        assert!(fits_beside_training(tiny_imagenet, 16 << 30));
        assert!(!fits_beside_training(tiny_imagenet, 2 << 30));
        assert!(fits_beside_training(0, 0));
    }
}
