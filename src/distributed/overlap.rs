//! The time of asynchronous all-reduces, and the part of it that is hidden.

use std::ops::AddAssign;

use serde::Serialize;

/// The time on the device of all-reduces that were started asynchronously.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Overlap {
    /// Number of all-reduces. `run.json` has it as `sums`.
    #[serde(rename = "sums")]
    pub all_reduces: u64,
    /// Seconds from the moment that the device could begin an all-reduce to its end; includes waiting for other ranks.
    pub seconds: f64,
    /// The part of these seconds before the current stream waits for the all-reduces.
    pub hidden_seconds: f64,
}

impl Overlap {
    /// The hidden part of the time, from 0 to 1; 0 without all-reduces.
    pub fn hidden_fraction(&self) -> f64 {
        if self.seconds > 0.0 { self.hidden_seconds / self.seconds } else { 0.0 }
    }
}

impl AddAssign for Overlap {
    fn add_assign(&mut self, other: Self) {
        self.all_reduces += other.all_reduces;
        self.seconds += other.seconds;
        self.hidden_seconds += other.hidden_seconds;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_all_reduces_nothing_is_hidden() {
        assert_eq!(Overlap::default().hidden_fraction(), 0.0);
    }
}
