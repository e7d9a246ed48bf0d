//! Loads libtorch's CUDA part at run time.
//!
//! The program does not link `libtorch_cuda.so`: loading it, cuDNN and NCCL takes a second and some hundred megabytes
//! that no run on a CPU needs. Loaded later, it registers its kernels as it would at the start.

use std::path::PathBuf;
use std::sync::OnceLock;

use libloading::os::unix::{Library, RTLD_GLOBAL, RTLD_LAZY};
use tch::{Cuda, Device};

use super::symbols::reason;

/// Loads the CUDA part. Call it before anything else asks libtorch for GPUs: libtorch remembers the first answer.
///
/// # Errors
/// The reason why it cannot be loaded, as a text.
pub fn load_cuda() -> Result<(), String> {
    static LOADED: OnceLock<Result<(), String>> = OnceLock::new();
    let load = || {
        let folder = libtorch_folder().ok_or("libtorch's folder is not known")?;
        let path = folder.join("libtorch_cuda.so");
        if !path.exists() {
            return Err(format!(
                "this libtorch is built for CPUs only: {} holds no libtorch_cuda.so",
                folder.display()
            ));
        }
        // SAFETY: a part of the libtorch that this process runs, built for loading at run time.
        let library = unsafe { Library::open(Some(&path), RTLD_LAZY | RTLD_GLOBAL) };
        // It is never unloaded: libtorch keeps pointers into it.
        let unloadable = |error| format!("libtorch_cuda.so cannot be loaded: {}", reason(&error));
        std::mem::forget(library.map_err(unloadable)?);
        Ok(())
    };
    LOADED.get_or_init(load).clone()
}

/// Number of GPUs that libtorch can use; 0 before [`load_cuda`].
pub fn device_count() -> usize {
    Cuda::device_count().max(0) as usize
}

/// The name of a device as in Python: `cpu`, `cuda:0`.
pub fn device_name(device: Device) -> String {
    match device {
        Device::Cuda(index) => format!("cuda:{index}"),
        _ => "cpu".into(),
    }
}

/// The folder of the libtorch that this process has loaded; none if the system does not show it.
pub fn libtorch_folder() -> Option<PathBuf> {
    // The last field of a line is the path of the mapped file.
    let maps = std::fs::read_to_string("/proc/self/maps").ok()?;
    let path = maps.lines().filter_map(|line| line.find('/').map(|start| &line[start..]));
    path.map(PathBuf::from).find(|path| path.ends_with("libtorch_cpu.so"))?.parent().map(Into::into)
}
