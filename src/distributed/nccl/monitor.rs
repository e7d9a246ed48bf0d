//! Watches the collectives on the GPU. The launch of a collective that later fails returns no error, and the host does
//! not notice an unfinished one until it reads a result.
//!
//! One thread asks NCCL for errors and the device for its progress. It tells the watchdog the oldest unfinished
//! collective. The watchdog itself never calls CUDA or NCCL, so a stuck driver does not stop it.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use tch::Device;

use super::comm::Communicator;
use super::device_event::DeviceEvent;
use crate::distributed::{process, watchdog};
use crate::error::Result;
use crate::torch::{self, Event};

const CHECK_INTERVAL: Duration = Duration::from_millis(50);

/// Descriptions of collectives and the events at their ends, oldest first.
type Collectives<E> = VecDeque<(String, E)>;

/// Collectives that the device may not have finished. `E` is a [`DeviceEvent`].
pub struct UnfinishedCollectives<E> {
    /// Collectives that the monitor has not seen yet. They have a lock of their own, so that a launch never waits for
    /// the monitor's calls to the driver.
    new: Mutex<Collectives<E>>,
    watched: Mutex<Collectives<E>>,
}

impl<E> Default for UnfinishedCollectives<E> {
    fn default() -> Self {
        UnfinishedCollectives { new: Mutex::default(), watched: Mutex::default() }
    }
}

fn lock<E>(collectives: &Mutex<Collectives<E>>) -> MutexGuard<'_, Collectives<E>> {
    collectives.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<E: DeviceEvent> UnfinishedCollectives<E> {
    /// Adds a collective, or other work: the device has finished `call` when it reaches `end`.
    pub fn add(&self, call: String, end: E) {
        lock(&self.new).push_back((call, end));
    }

    /// Removes finished collectives. Returns the oldest unfinished one, or `None` in it, if that differs from `first`.
    /// Updates `first`.
    fn remove_finished(&self, first: &mut Option<String>) -> Result<Option<Option<String>>> {
        let mut watched = lock(&self.watched);
        watched.append(&mut lock(&self.new));
        let mut changed = first.is_none() && !watched.is_empty();
        while let Some((_, end)) = watched.front() {
            if !end.reached()? {
                break;
            }
            watched.pop_front();
            changed = true;
        }
        if !changed {
            return Ok(None);
        }
        *first = watched.front().map(|(call, _)| call.clone());
        Ok(Some(first.clone()))
    }

    /// Whether the device has finished all of them. Also true if the device returns an error.
    pub fn is_idle(&self) -> bool {
        let idle =
            |collectives: &Collectives<E>| collectives.back().is_none_or(|(_, end)| end.reached().unwrap_or(true));
        idle(&lock(&self.watched)) && idle(&lock(&self.new))
    }
}

/// The watching thread.
pub struct Monitor {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Monitor {
    /// Starts the thread. It ends the job after an error of NCCL or of the device.
    pub fn start(comm: &Arc<Communicator>, unfinished: &Arc<UnfinishedCollectives<Event>>, device: Device) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let (comm, unfinished, ended) = (Arc::clone(comm), Arc::clone(unfinished), Arc::clone(&stop));
        let watch = move || {
            // Without this the thread would free its events through GPU 0, which costs memory there.
            if let Err(error) = torch::set_device(device) {
                process::fail(&error);
            }
            torch::keep_out_of_captures();
            let mut first = None;
            while !ended.load(Ordering::Acquire) {
                if let Err(error) = comm.check().and_then(|()| report_oldest(&unfinished, &mut first)) {
                    process::fail(&error.context(first.unwrap_or_else(watchdog::last_call)));
                }
                thread::sleep(CHECK_INTERVAL);
            }
        };
        // If the thread does not start, only the early detection of failures is lost.
        Monitor { stop, thread: thread::Builder::new().name("nccl-monitor".into()).spawn(watch).ok() }
    }

    /// Waits for the end of the thread.
    pub fn stop(&mut self) {
        self.stop.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
        watchdog::set_device_call(None);
    }
}

/// Tells the watchdog the oldest unfinished collective, if it has changed.
fn report_oldest(unfinished: &UnfinishedCollectives<Event>, first: &mut Option<String>) -> Result<()> {
    if let Some(oldest) = unfinished.remove_finished(first)? {
        watchdog::set_device_call(oldest);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Flag(Arc<AtomicBool>);

    impl DeviceEvent for Flag {
        fn reached(&self) -> Result<bool> {
            Ok(self.0.load(Ordering::Relaxed))
        }

        fn seconds_since(&self, _: &Self) -> Result<f64> {
            Ok(0.0)
        }
    }

    #[test]
    fn the_oldest_unfinished_collective_is_reported_once() {
        let unfinished = UnfinishedCollectives::default();
        let mut first = None;
        assert_eq!(unfinished.remove_finished(&mut first).unwrap(), None);
        let flags: Vec<Arc<AtomicBool>> = (0..3).map(|_| Arc::default()).collect();
        for (number, flag) in flags.iter().enumerate() {
            unfinished.add(format!("collective {number}"), Flag(Arc::clone(flag)));
        }
        assert_eq!(unfinished.remove_finished(&mut first).unwrap(), Some(Some("collective 0".into())));
        assert!(!unfinished.is_idle());
        // The oldest one is the same: its clock runs on.
        flags[1].store(true, Ordering::Relaxed);
        assert_eq!(unfinished.remove_finished(&mut first).unwrap(), None);
        flags[0].store(true, Ordering::Relaxed);
        assert_eq!(unfinished.remove_finished(&mut first).unwrap(), Some(Some("collective 2".into())));
        flags[2].store(true, Ordering::Relaxed);
        assert_eq!(unfinished.remove_finished(&mut first).unwrap(), Some(None));
        assert!(unfinished.is_idle());
        assert_eq!(unfinished.remove_finished(&mut first).unwrap(), None);
    }
}
