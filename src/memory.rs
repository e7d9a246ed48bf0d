//! Main memory: the amount available to this process, and its peak use.

use std::fs;
use std::path::Path;

/// Bytes of main memory.
#[derive(Debug, Clone, Copy)]
pub struct HostMemory {
    /// Memory of the machine, or the limit of the control group (of a container or a job) if that is lower.
    pub total: u64,
    /// Memory that can still be taken without swapping.
    pub available: u64,
}

impl HostMemory {
    /// The present values. `None` if the system has no /proc/meminfo.
    pub fn now() -> Option<Self> {
        let text = fs::read_to_string("/proc/meminfo").ok()?;
        let limit = cgroup_limit().unwrap_or(u64::MAX);
        let field = |name| meminfo_bytes(&text, name).map(|bytes| bytes.min(limit));
        Some(HostMemory { total: field("MemTotal")?, available: field("MemAvailable")? })
    }
}

/// The bytes in a line like `MemAvailable:   12345 kB`.
fn meminfo_bytes(text: &str, field: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

/// The lowest memory limit in bytes of this process's control group (version 2) and its parents.
fn cgroup_limit() -> Option<u64> {
    let groups = fs::read_to_string("/proc/self/cgroup").ok()?;
    let group = groups.lines().find_map(|line| line.strip_prefix("0::/"))?;
    let limit = |folder: &Path| {
        let text = fs::read_to_string(Path::new("/sys/fs/cgroup").join(folder).join("memory.max")).ok()?;
        text.trim().parse::<u64>().ok() // `max`: no limit
    };
    Path::new(group).ancestors().filter_map(limit).min()
}

/// Peak memory of this process in bytes. `None` if the system has no /proc.
pub fn peak() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    meminfo_bytes(&status, "VmHWM")
}

/// Bytes in GiB (2^30 bytes).
pub fn gib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 30)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_read_in_the_format_of_the_kernel() {
        let text = "MemTotal:       24 kB\nMemFree:         1 kB\nMemAvailable:   16 kB\nHugePages_Total:  0\n";
        assert_eq!(meminfo_bytes(text, "MemAvailable"), Some(16384));
        assert_eq!(meminfo_bytes(text, "HugePages_Total"), None);
        assert_eq!(meminfo_bytes(text, "Mem"), None);
    }
}
