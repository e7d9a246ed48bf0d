//! Numerical settings of the whole process: determinism, TF32, cuDNN's choice of algorithms.

use super::error::check;
use super::ffi;
use crate::error::Result;

pub use super::ffi::Numerics;

impl Numerics {
    /// Applies the settings to the process.
    pub fn apply(self) -> Result<()> {
        // SAFETY: sets flags of libtorch's global context.
        check(unsafe { ffi::regun_set_numerics(self) })
    }

    /// Runs `body` without timing cuDNN's algorithms. For a shape that occurs once, the timing costs more than it
    /// saves.
    pub fn without_benchmark<T>(body: impl FnOnce() -> Result<T>) -> Result<T> {
        let before = Self::current()?;
        Numerics { benchmark: false, ..before }.apply()?;
        let result = body();
        before.apply()?;
        result
    }

    /// The settings in force.
    pub fn current() -> Result<Self> {
        let mut numerics = Numerics { deterministic: false, tf32: false, benchmark: false };
        // SAFETY: the shim writes plain values.
        check(unsafe { ffi::regun_get_numerics(&mut numerics) })?;
        Ok(numerics)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // One test: the settings belong to the process, and tests run in parallel.
    #[test]
    fn numerics_are_read_back_as_they_were_set() {
        for [deterministic, tf32, benchmark] in [[true, true, false], [true, false, true], [false, true, true]] {
            let wanted = Numerics { deterministic, tf32, benchmark };
            wanted.apply().unwrap();
            assert_eq!(Numerics::current().unwrap(), wanted);
        }
        Numerics { deterministic: false, tf32: false, benchmark: false }.apply().unwrap();
    }
}
