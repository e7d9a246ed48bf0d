//! Measures the part of the all-reduces' time that is hidden: `launch.trace_sums`.
//!
//! Started all-reduces run in parallel to the rest of the current stream's work, the backward pass. When the current
//! stream waits for them, at the end of the pass or for another all-reduce (which comes after all earlier ones), the
//! rest of their time is not hidden. Events on both streams give the times of the begin and end of each all-reduce and
//! of the start of the wait. They are read after the device has passed them, so neither host nor device waits for them.

use std::collections::VecDeque;

use super::device_event::DeviceEvent;
use crate::distributed::overlap::Overlap;
use crate::error::Result;

/// The events of one all-reduce.
struct AllReduceSpan<E> {
    begin: E,
    end: E,
}

/// The events of all traced all-reduces that are not read yet, and the total of those that are.
pub struct Timeline<E> {
    /// Started all-reduces for which the current stream does not wait yet.
    started: Vec<AllReduceSpan<E>>,
    /// The all-reduces of a pass with the start of the wait for them, oldest first.
    passes: VecDeque<(Vec<AllReduceSpan<E>>, E)>,
    total: Overlap,
}

impl<E> Default for Timeline<E> {
    fn default() -> Self {
        Timeline { started: Vec::new(), passes: VecDeque::new(), total: Overlap::default() }
    }
}

impl<E: DeviceEvent> Timeline<E> {
    /// Adds a started all-reduce.
    pub fn add(&mut self, begin: E, end: E) {
        self.started.push(AllReduceSpan { begin, end });
    }

    /// The current stream waits for all started all-reduces from `wait` on.
    pub fn wait_from(&mut self, wait: E) -> Result<()> {
        if self.has_started() {
            self.passes.push_back((std::mem::take(&mut self.started), wait));
        }
        self.read()
    }

    /// Whether there are started all-reduces for which the current stream does not wait yet.
    pub fn has_started(&self) -> bool {
        !self.started.is_empty()
    }

    /// The overlap of the all-reduces that the device has finished.
    pub fn overlap(&mut self) -> Result<Overlap> {
        self.read()?;
        Ok(self.total)
    }

    /// Reads the events of all passes that the device has finished.
    fn read(&mut self) -> Result<()> {
        while let Some((spans, wait)) = self.passes.front() {
            // All-reduces end in their order.
            let last = spans.last().map_or(Ok(true), |span| span.end.reached())?;
            if !last || !wait.reached()? {
                break;
            }
            for AllReduceSpan { begin, end } in spans {
                let (seconds, hidden) = (end.seconds_since(begin)?, wait.seconds_since(begin)?);
                self.total += Overlap { all_reduces: 1, seconds, hidden_seconds: hidden.clamp(0.0, seconds) };
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

    /// An event at a given time, reached when the clock shows that time.
    struct At(f64, Rc<Cell<f64>>);

    impl DeviceEvent for At {
        fn reached(&self) -> Result<bool> {
            Ok(self.1.get() >= self.0)
        }

        fn seconds_since(&self, earlier: &Self) -> Result<f64> {
            Ok(self.0 - earlier.0)
        }
    }

    #[test]
    fn the_time_of_an_all_reduce_before_the_wait_for_it_is_hidden() {
        let clock = Rc::new(Cell::new(0.0));
        let at = |time: f64| At(time, Rc::clone(&clock));
        let mut timeline = Timeline::default();
        timeline.add(at(1.0), at(2.0)); // hidden
        timeline.add(at(2.0), at(6.0)); // hidden for three of four seconds
        timeline.wait_from(at(5.0)).unwrap();
        timeline.add(at(9.0), at(11.0)); // begins after the start of the wait
        timeline.wait_from(at(8.0)).unwrap();
        timeline.wait_from(at(12.0)).unwrap(); // without all-reduces
        clock.set(5.5); // one all-reduce of the first pass is not finished
        assert_eq!(timeline.overlap().unwrap(), Overlap::default());
        clock.set(6.0);
        let first = Overlap { all_reduces: 2, seconds: 5.0, hidden_seconds: 4.0 };
        assert_eq!((timeline.overlap().unwrap(), first.hidden_fraction()), (first, 0.8));
        clock.set(20.0);
        let all = Overlap { all_reduces: 3, seconds: 7.0, hidden_seconds: 4.0 };
        assert_eq!(timeline.overlap().unwrap(), all);
        assert_eq!(timeline.overlap().unwrap(), all, "counted once");
    }
}
