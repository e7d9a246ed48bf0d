//! Settings of the whole process: determinism, TF32, cuDNN's choice of algorithms.

use super::{check, ffi};
use crate::error::Result;

/// How the whole process computes: `RegunNumerics` of `shim.h`.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Numerics {
    /// Operations without a deterministic kernel become errors, and cuBLAS works in memory of a fixed size.
    pub deterministic: bool,
    /// float32 products on a GPU with TF32's mantissa of 10 bits.
    pub tf32: bool,
    /// cuDNN times its algorithms for each new shape and takes the fastest, which need not be the same each time.
    pub benchmark: bool,
}

impl Numerics {
    /// Before the first use of a GPU: cuBLAS reads its part (the environment variable `CUBLAS_WORKSPACE_CONFIG`, which
    /// is left alone where the user has set it) when it starts. While no other thread reads the environment, unless
    /// `deterministic` stays as it is: then no variable is set.
    pub fn apply(self) -> Result<()> {
        // SAFETY: sets flags of libtorch's global context, and a variable of the environment under libtorch's lock.
        check(unsafe { ffi::regun_set_numerics(self) })
    }

    /// Runs `body` without timing cuDNN's algorithms: for shapes that come once, that takes longer than any of them.
    pub fn without_benchmark<T>(body: impl FnOnce() -> Result<T>) -> Result<T> {
        let before = Self::current()?;
        Numerics { benchmark: false, ..before }.apply()?;
        let result = body();
        before.apply()?;
        result
    }

    /// What is in force.
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

    // One test: the settings are those of the process, and tests share it.
    #[test]
    fn numerics_are_read_back_as_they_were_set() {
        for [deterministic, tf32, benchmark] in [[true, true, false], [true, false, true], [false, true, true]] {
            let wanted = Numerics { deterministic, tf32, benchmark };
            wanted.apply().unwrap();
            assert_eq!(Numerics::current().unwrap(), wanted);
        }
        Numerics { deterministic: false, tf32: false, benchmark: false }.apply().unwrap();
        assert!(std::env::var("CUBLAS_WORKSPACE_CONFIG").is_ok());
    }
}
