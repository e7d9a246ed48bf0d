//! Time limits and number of attempts of a download.

use std::time::Duration;

/// The limits after which a download gives up.
#[derive(Debug, Clone, Copy)]
pub struct RetryPolicy {
    /// Longest wait for a connection.
    pub connect: Duration,
    /// Longest wait for the next byte.
    pub stall: Duration,
    /// Attempts in a row that may end without a new byte.
    pub attempts: u32,
    /// Wait before the second attempt; it doubles from one attempt to the next.
    pub pause: Duration,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        let seconds = Duration::from_secs;
        RetryPolicy { connect: seconds(15), stall: seconds(60), attempts: 4, pause: seconds(1) }
    }
}
