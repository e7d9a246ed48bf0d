//! Whether the images of a run live on its device or in host memory: decided from their number and size, before any
//! memory runs out.

use std::fs;
use std::path::Path;

use tch::Device;

use super::pixels::Pixels;
use super::source::Images;
use crate::error::Result;
use crate::torch::free_device_memory;

const GIB: f64 = (1_u64 << 30) as f64;

/// Where the pixels of `sets` go on a rank that computes on `device`; what it costs to have too little is said.
pub fn choose(sets: &[&Images], device: Device) -> Result<Device> {
    let bytes: u64 = sets.iter().map(|images| images.pixels.len() as u64).sum();
    if let Some(free) = free_device_memory(device)? {
        if fits_beside_training(bytes, free) {
            return Ok(device);
        }
        tracing::info!(
            "the images take {:.1} GiB, more than half of the {:.1} GiB that are free on {device:?}: they stay in host \
             memory, and each batch is uploaded when it is needed",
            bytes as f64 / GIB,
            free as f64 / GIB
        );
    }
    let is_mapped = sets.iter().any(|images| matches!(images.pixels, Pixels::Mapped(_)));
    if let Some(available) = available_host_memory().filter(|available| is_mapped && bytes > *available) {
        tracing::warn!(
            "the packed images take {:.1} GiB and {:.1} GiB of memory are available: the system reads them from disk \
             again and again, which is slow",
            bytes as f64 / GIB,
            available as f64 / GIB
        );
    }
    Ok(Device::Cpu)
}

/// The other half is for the model, its activations and its optimizer.
fn fits_beside_training(bytes: u64, free: u64) -> bool {
    bytes <= free / 2
}

/// Bytes of host memory that a process may still take: what the kernel calls available, within the limit of the
/// control group (a container's or a job's). `None` where the system does not say.
fn available_host_memory() -> Option<u64> {
    let available = meminfo_bytes(&fs::read_to_string("/proc/meminfo").ok()?, "MemAvailable")?;
    Some(group_limit().map_or(available, |limit| limit.min(available)))
}

/// A line like `MemAvailable:   12345 kB`.
fn meminfo_bytes(text: &str, field: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

/// The smallest limit of this process's control group (version 2) and those above it.
fn group_limit() -> Option<u64> {
    let groups = fs::read_to_string("/proc/self/cgroup").ok()?;
    let group = groups.lines().find_map(|line| line.strip_prefix("0::/"))?;
    let limit = |folder: &Path| {
        let text = fs::read_to_string(Path::new("/sys/fs/cgroup").join(folder).join("memory.max")).ok()?;
        text.trim().parse::<u64>().ok() // `max`: no limit
    };
    Path::new(group).ancestors().filter_map(limit).min()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_may_take_half_of_what_is_free() {
        let tiny_imagenet = 110_000 * 3 * 64 * 64;
        assert!(fits_beside_training(tiny_imagenet, 16 << 30));
        assert!(!fits_beside_training(tiny_imagenet, 2 << 30));
        assert!(fits_beside_training(0, 0));
    }

    #[test]
    fn memory_is_read_as_the_kernel_writes_it() {
        let text = "MemTotal:       24 kB\nMemFree:         1 kB\nMemAvailable:   16 kB\nHugePages_Total:  0\n";
        assert_eq!(meminfo_bytes(text, "MemAvailable"), Some(16384));
        assert_eq!(meminfo_bytes(text, "HugePages_Total"), None);
        assert_eq!(meminfo_bytes(text, "Mem"), None);
    }
}
