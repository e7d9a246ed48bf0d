//! Checks that all ranks make the same collective calls: `launch.check_collectives`.
//!
//! Before each collective the ranks compare descriptions of their next calls by an all-gather. It costs one round trip
//! for each collective. Without it, different calls end in a silent wrong sum or a hang; with it, in an error that
//! names the first call that differs.

use super::transport::Transport;
use crate::error::{Error, ErrorKind, Result};

/// Compares the next collective call of this rank, `call`, with those of the others. A collective call.
pub fn check(transport: &dyn Transport, call: &str) -> Result<()> {
    let calls = transport.all_gather_bytes(call.as_bytes())?;
    let Some(rank) = calls.iter().position(|other| *other != calls[0]) else { return Ok(()) };
    let text = |rank: usize| String::from_utf8_lossy(&calls[rank]).into_owned();
    Err(Error::new(
        ErrorKind::Peer,
        format!(
            "the ranks make different collective calls: rank 0 calls {}; rank {rank} calls {}",
            text(0),
            text(rank)
        ),
    )
    .hint("a bug in regun: please report it with the command line"))
}
