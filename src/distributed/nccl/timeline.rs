//! How much of the sums' time is hidden: `launch.trace_sums`.
//!
//! Sums that are begun run beside whatever the current stream still has to do, the backward pass. Once that waits, at
//! its end or for another sum (which comes after those that were begun before), the rest of their time is not hidden.
//! Points on both streams say when each sum began and ended, and when that end came; they are read once the device has
//! passed them, so that tracing makes nobody wait.

use std::collections::VecDeque;
use std::ops::AddAssign;

use serde::Serialize;

use crate::error::Result;
use crate::torch::Event;

/// What sums that were begun took on the device.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Overlap {
    pub sums: u64,
    /// From when the device could begin with a sum to its end, in seconds; waiting for other ranks included.
    pub seconds: f64,
    /// The part of it before the current stream came to where it waits for the sums.
    pub hidden_seconds: f64,
}

impl Overlap {
    /// From 0 to 1: the part of the time that nobody waited for.
    pub fn share(&self) -> f64 {
        if self.seconds > 0.0 { self.hidden_seconds / self.seconds } else { 0.0 }
    }
}

impl AddAssign for Overlap {
    fn add_assign(&mut self, other: Self) {
        self.sums += other.sums;
        self.seconds += other.seconds;
        self.hidden_seconds += other.hidden_seconds;
    }
}

/// A point in the work of the device whose time can be asked for.
pub trait Moment {
    /// Whether the device has come here; does not wait.
    fn reached(&self) -> Result<bool>;
    /// Seconds from `earlier` to here; negative where this one came first.
    fn since(&self, earlier: &Self) -> Result<f64>;
}

impl Moment for Event {
    fn reached(&self) -> Result<bool> {
        Event::reached(self)
    }

    fn since(&self, earlier: &Self) -> Result<f64> {
        self.seconds_since(earlier)
    }
}

/// Of one sum.
struct Span<M> {
    begin: M,
    end: M,
}

pub struct Timeline<M> {
    /// Begun, and nobody waits for them yet.
    begun: Vec<Span<M>>,
    /// Sums of a pass with the moment from which on it waits for them, oldest first.
    passes: VecDeque<(Vec<Span<M>>, M)>,
    total: Overlap,
}

impl<M> Default for Timeline<M> {
    fn default() -> Self {
        Timeline { begun: Vec::new(), passes: VecDeque::new(), total: Overlap::default() }
    }
}

impl<M: Moment> Timeline<M> {
    pub fn sum(&mut self, begin: M, end: M) {
        self.begun.push(Span { begin, end });
    }

    /// The sums so far are waited for from `moment` on.
    pub fn wait_from(&mut self, moment: M) -> Result<()> {
        if self.has_begun() {
            self.passes.push_back((std::mem::take(&mut self.begun), moment));
        }
        self.read()
    }

    /// Whether there are sums that nobody waits for yet.
    pub fn has_begun(&self) -> bool {
        !self.begun.is_empty()
    }

    /// Of all sums that the device has done.
    pub fn overlap(&mut self) -> Result<Overlap> {
        self.read()?;
        Ok(self.total)
    }

    fn read(&mut self) -> Result<()> {
        while let Some((spans, waits)) = self.passes.front() {
            // Sums end in their order.
            let last = spans.last().map_or(Ok(true), |span| span.end.reached())?;
            if !last || !waits.reached()? {
                break;
            }
            for Span { begin, end } in spans {
                let (seconds, hidden) = (end.since(begin)?, waits.since(begin)?);
                self.total += Overlap { sums: 1, seconds, hidden_seconds: hidden.clamp(0.0, seconds) };
            }
            self.passes.pop_front();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::rc::Rc;

    use super::*;

    /// A moment at a given time, reached when the clock has come there.
    struct At(f64, Rc<Cell<f64>>);

    impl Moment for At {
        fn reached(&self) -> Result<bool> {
            Ok(self.1.get() >= self.0)
        }

        fn since(&self, earlier: &Self) -> Result<f64> {
            Ok(self.0 - earlier.0)
        }
    }

    #[test]
    fn what_a_sum_takes_before_it_is_waited_for_is_hidden() {
        let clock = Rc::new(Cell::new(0.0));
        let at = |time: f64| At(time, Rc::clone(&clock));
        let mut timeline = Timeline::default();
        timeline.sum(at(1.0), at(2.0)); // hidden
        timeline.sum(at(2.0), at(6.0)); // hidden for three of four seconds
        timeline.wait_from(at(5.0)).unwrap();
        timeline.sum(at(9.0), at(11.0)); // begins when it is waited for
        timeline.wait_from(at(8.0)).unwrap();
        timeline.wait_from(at(12.0)).unwrap(); // for nothing
        clock.set(5.5); // the first pass has a sum to end
        assert_eq!(timeline.overlap().unwrap(), Overlap::default());
        clock.set(6.0);
        let first = Overlap { sums: 2, seconds: 5.0, hidden_seconds: 4.0 };
        assert_eq!((timeline.overlap().unwrap(), first.share()), (first, 0.8));
        clock.set(20.0);
        let all = Overlap { sums: 3, seconds: 7.0, hidden_seconds: 4.0 };
        assert_eq!(timeline.overlap().unwrap(), all);
        assert_eq!(timeline.overlap().unwrap(), all, "counted once");
    }

    #[test]
    fn without_sums_nothing_is_hidden() {
        assert_eq!(Overlap::default().share(), 0.0);
    }
}
