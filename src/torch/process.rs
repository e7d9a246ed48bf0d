//! Settings of the process that concern libtorch and the libraries that it loads; libtorch's version.

use std::ffi::CStr;

use super::ffi;
use crate::error::{Error, ErrorKind, Result};

/// Keeps freed host memory in the process instead of returning it to the kernel after every tensor.
///
/// The activations of a CPU training step are large. Giving their pages back and getting them zeroed again costs about
/// a tenth of the step. Call it once, at the very start of the program: only memory allocated afterwards is kept. Does
/// nothing without glibc.
pub fn keep_freed_memory() {
    // SAFETY: sets parameters of malloc; no memory changes hands.
    unsafe { ffi::regun_keep_freed_memory() }
}

/// Version of libtorch, like `2.11.0`.
pub fn version() -> String {
    // SAFETY: the shim returns a string literal.
    unsafe { CStr::from_ptr(ffi::regun_torch_version()) }.to_string_lossy().into_owned()
}

/// Sets an environment variable for libraries that start later. A variable that is already set stays as it is.
///
/// # Errors
/// `Bug` if the process has several threads, or does not show how many: another thread might read the environment while
/// this one changes it.
pub fn default_environment(name: &str, value: &str) -> Result<()> {
    if std::env::var_os(name).is_some() {
        return Ok(());
    }
    let threads = std::fs::read_dir("/proc/self/task").map_or(0, Iterator::count);
    if threads != 1 {
        return Err(Error::new(
            ErrorKind::Bug,
            format!("{name} is set while the process has {threads} threads: wanted one"),
        )
        .hint(format!("start the program with {name}={value} in its environment")));
    }
    // SAFETY: this thread is the only one, and it starts no other during the call: nothing reads the environment.
    unsafe { std::env::set_var(name, value) };
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_variable_is_not_set_beside_other_threads() {
        // The test harness has a thread of its own beside this one.
        let error = std::thread::spawn(|| default_environment("REGUN_TEST_UNSET", "1")).join().unwrap().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Bug);
        assert!(std::env::var_os("REGUN_TEST_UNSET").is_none());
        // No change, no danger.
        default_environment("PATH", "elsewhere").unwrap();
        assert_ne!(std::env::var_os("PATH").unwrap(), "elsewhere");
    }
}
