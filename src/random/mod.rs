//! Random numbers as pure functions: there is no global generator and no hidden state.
//!
//! | module | holds |
//! | --- | --- |
//! | [`philox`] | the generator of this program |
//! | [`python`] | CPython's generator, for index sets that must equal those of the Python program exactly |
//! | [`sample_keys`] | the random keys of a batch |
//!
//! With `philox`, any draw follows from (seed, purpose, epoch, sample) alone. So results do not depend on ranks,
//! threads or the point at which a run was resumed.

pub mod philox;
pub mod python;
pub mod sample_keys;

pub use philox::{Draws, RandomStream};
pub use sample_keys::SampleKeys;
