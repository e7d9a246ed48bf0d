//! A check that all ranks make the same collective calls: `launch.check_collectives`.
//!
//! Before each collective the ranks exchange a description of the call that they are about to make. It costs a round
//! trip each time, and turns a silent wrong sum or a hang into the name of the first call that differs.

use super::Transport;
use crate::error::{Error, ErrorKind, Result};

/// Compares this rank's next call with those of the others.
pub fn check(transport: &dyn Transport, call: &str) -> Result<()> {
    let calls = transport.all_gather_bytes(call.as_bytes())?;
    let Some(rank) = calls.iter().position(|other| *other != calls[0]) else { return Ok(()) };
    let text = |rank: usize| String::from_utf8_lossy(&calls[rank]).into_owned();
    Err(Error::new(
        ErrorKind::Peer,
        format!("the ranks went different ways: rank 0 calls {}, rank {rank} calls {}", text(0), text(rank)),
    )
    .hint("a bug in regun: please report it with the command line"))
}
