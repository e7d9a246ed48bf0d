//! Random numbers that depend on nothing but what they are for: no global generator, no hidden state.
//!
//! [`philox`] serves everything that is ours: any draw can be recomputed from (seed, purpose, epoch, sample) alone, so
//! results do not depend on ranks, threads or where a run was resumed. [`python`] reproduces CPython's generator, for
//! what must equal the Python program to the last index.

pub mod philox;
pub mod python;
mod sample_keys;

pub use philox::{Draws, Stream};
pub use sample_keys::SampleKeys;
